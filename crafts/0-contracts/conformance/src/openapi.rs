//! The OpenAPI files, held against what is really served.
//!
//! Knows as much of JSON Schema as the files use, and says so where they use more: a keyword that nobody checks
//! would be a promise that nobody keeps.

use crate::http::Observed;
use contracts::openapi::FILES;
use regex::Regex;
use serde_json::{Map, Value};
use std::sync::OnceLock;

/// Statuses that the `default` answer of an operation stands for: HTTP refused before the operation was reached.
const REFUSED_BEFORE: [u16; 12] = [400, 401, 403, 405, 408, 411, 413, 415, 417, 431, 501, 505];
const METHODS: [&str; 5] = ["get", "post", "put", "delete", "patch"];

/// One method of one path of one file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// Name of the file without its ending.
    pub service: &'static str,
    /// In upper case.
    pub method: String,
    /// Template: `/rules/{name}`.
    pub path: String,
}

/// A file as JSON.
///
/// # Errors
/// That there is no such file, or what is wrong with it.
pub fn document(service: &str) -> Result<&'static Value, String> {
    static DOCUMENTS: OnceLock<Vec<(&str, Result<Value, String>)>> = OnceLock::new();
    let parse = |text| serde_saphyr::from_str::<Value>(text).map_err(|e| e.to_string());
    let all = DOCUMENTS.get_or_init(|| FILES.iter().map(|(name, text)| (*name, parse(text))).collect());
    let (_, found) =
        all.iter().find(|(name, _)| *name == service).ok_or(format!("there is no {service}.yaml"))?;
    found.as_ref().map_err(|why| format!("{service}.yaml: {why}"))
}

/// Every operation of every file.
///
/// # Errors
/// As [`document`].
pub fn operations() -> Result<Vec<Operation>, String> {
    let mut all = Vec::new();
    for (service, _) in FILES {
        for (path, item) in members(&document(service)?["paths"]) {
            let methods = METHODS.into_iter().filter(|method| item.get(method).is_some());
            all.extend(methods.map(|m| Operation { service, method: m.to_uppercase(), path: path.clone() }));
        }
    }
    Ok(all)
}

/// Which of the answers that were seen no file documents.
///
/// # Errors
/// As [`document`].
pub fn undocumented(observed: &[Observed]) -> Result<Vec<Observed>, String> {
    let mut missing = Vec::new();
    for seen in observed {
        if answer(&seen.method, &seen.path, seen.status)?.is_none() {
            missing.push(seen.clone());
        }
    }
    Ok(missing)
}

/// Holds an answer against the file: its status must be documented, its content type too, and a body of JSON
/// must fit its schema.
///
/// # Errors
/// In what it differs.
pub fn check_answer(seen: &Observed, content_type: Option<&str>, body: &[u8]) -> Result<(), String> {
    let Observed { method, path, status } = seen;
    let what = format!("{status} of {method} {path}");
    let (document, answer) =
        answer(method, path, *status)?.ok_or(format!("no OpenAPI file documents a {what}"))?;
    let Some(contents) = answer.get("content") else {
        return if body.is_empty() {
            Ok(())
        } else {
            Err(format!("{what}: a body, where OpenAPI documents none"))
        };
    };
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    let media = contents.get(kind).ok_or(format!("{what}: OpenAPI documents no body of type {kind:?}"))?;
    if kind != "application/json" {
        return Ok(());
    }
    let value: Value =
        serde_json::from_slice(body).map_err(|e| format!("{what}: the body is no JSON: {e}"))?;
    fits(document, &media["schema"], &value).map_err(|why| format!("{what} does not fit its schema: {why}"))
}

/// The documented answer and its file.
fn answer(method: &str, path: &str, status: u16) -> Result<Option<(&'static Value, &'static Value)>, String> {
    for (service, _) in FILES {
        let document = document(service)?;
        let Some(responses) =
            document["paths"].get(path).and_then(|p| p.get(method.to_lowercase())?.get("responses"))
        else {
            continue;
        };
        let by_default = || responses.get("default").filter(|_| REFUSED_BEFORE.contains(&status));
        if let Some(found) = responses.get(status.to_string()).or_else(by_default) {
            return Ok(Some((document, resolve(document, found)?)));
        }
    }
    Ok(None)
}

/// What a `$ref` within the same file means; anything else means itself.
fn resolve<'d>(document: &'d Value, node: &'d Value) -> Result<&'d Value, String> {
    let Some(reference) = node.get("$ref").and_then(Value::as_str) else { return Ok(node) };
    let pointer = reference.strip_prefix('#').ok_or(format!("{reference:?} points out of its file"))?;
    document.pointer(pointer).ok_or(format!("{reference:?} points to nothing"))
}

/// Whether a value fits a schema; `Err` says where it does not.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    for (keyword, wanted) in members(schema) {
        fits_keyword(document, schema, keyword, wanted, value)?;
    }
    Ok(())
}

fn fits_keyword(
    document: &Value,
    schema: &Value,
    keyword: &str,
    wanted: &Value,
    value: &Value,
) -> Result<(), String> {
    let ensure = |holds: bool| if holds { Ok(()) } else { Err(format!("{value} is not {keyword} {wanted}")) };
    let each = |schemas: &Value| -> Vec<Result<(), String>> {
        schemas.as_array().into_iter().flatten().map(|s| fits(document, s, value)).collect()
    };
    let number = |n: &Value| n.as_f64();
    let length = || value.as_str().map(|text| text.chars().count() as u64);
    match keyword {
        "$ref" => fits(document, resolve(document, schema)?, value),
        "allOf" => each(wanted).into_iter().collect(),
        "oneOf" => ensure(each(wanted).iter().filter(|r| r.is_ok()).count() == 1),
        "const" => ensure(value == wanted),
        "enum" => ensure(wanted.as_array().is_some_and(|all| all.contains(value))),
        "type" => ensure(match wanted {
            Value::Array(types) => types.iter().any(|t| is_type(t, value)),
            one => is_type(one, value),
        }),
        "required" => {
            let names = wanted.as_array().into_iter().flatten().filter_map(Value::as_str);
            ensure(!value.is_object() || names.into_iter().all(|name| value.get(name).is_some()))
        }
        "properties" => members(wanted)
            .filter_map(|(name, schema)| Some((name, fits(document, schema, value.get(name)?))))
            .try_for_each(|(name, result)| result.map_err(|why| format!("{name}: {why}"))),
        "additionalProperties" => {
            members(value).filter(|(name, _)| schema["properties"].get(name).is_none()).try_for_each(
                |(_, member)| if wanted == false { ensure(false) } else { fits(document, wanted, member) },
            )
        }
        "propertyNames" => {
            members(value).try_for_each(|(name, _)| fits(document, wanted, &Value::String(name.clone())))
        }
        "items" => value.as_array().into_iter().flatten().try_for_each(|item| fits(document, wanted, item)),
        "prefixItems" => {
            let pairs = wanted.as_array().into_iter().flatten().zip(value.as_array().into_iter().flatten());
            pairs.into_iter().try_for_each(|(schema, item)| fits(document, schema, item))
        }
        "minimum" => ensure(number(value).zip(number(wanted)).is_none_or(|(v, w)| v >= w)),
        "maximum" => ensure(number(value).zip(number(wanted)).is_none_or(|(v, w)| v <= w)),
        "minLength" => ensure(length().zip(wanted.as_u64()).is_none_or(|(l, w)| l >= w)),
        "maxLength" => ensure(length().zip(wanted.as_u64()).is_none_or(|(l, w)| l <= w)),
        "maxProperties" => ensure(value.as_object().is_none_or(|o| Some(o.len() as u64) <= wanted.as_u64())),
        "pattern" => {
            let regex = Regex::new(wanted.as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
            ensure(value.as_str().is_none_or(|text| regex.is_match(text)))
        }
        // Say something about a value, but nothing that must hold.
        "description" | "default" | "example" | "format" => Ok(()),
        other => Err(format!("the schema uses {other:?}, which this check does not know")),
    }
}

fn is_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap_or_default() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        // As JSON Schema has it, 1.0 is an integer.
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        _ => false,
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    static NONE: OnceLock<Map<String, Value>> = OnceLock::new();
    value.as_object().unwrap_or_else(|| NONE.get_or_init(Map::new)).iter()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeSet;

    /// Calls `visit` with every node of a document and its path.
    fn walk<'d>(node: &'d Value, at: &str, visit: &mut dyn FnMut(&str, &'d Value)) {
        visit(at, node);
        match node {
            Value::Object(map) => map.iter().for_each(|(k, v)| walk(v, &format!("{at}/{k}"), visit)),
            Value::Array(list) => {
                list.iter().enumerate().for_each(|(i, v)| walk(v, &format!("{at}/{i}"), visit))
            }
            _ => {}
        }
    }

    #[test]
    fn every_file_is_openapi_3_1_and_every_reference_leads_somewhere() {
        for (service, _) in FILES {
            let document = document(service).unwrap();
            assert_eq!(document["openapi"], "3.1.0");
            walk(document, service, &mut |at, node| {
                if node.get("$ref").is_some_and(Value::is_string) {
                    resolve(document, node).unwrap_or_else(|why| panic!("{at}: {why}"));
                }
            });
        }
    }

    #[test]
    fn every_shared_piece_is_used() {
        for (service, text) in FILES {
            for (kind, pieces) in members(&document(service).unwrap()["components"]) {
                for (name, _) in members(pieces) {
                    let reference = format!("#/components/{kind}/{name}'");
                    assert!(text.contains(&reference), "{service}.yaml: nobody refers to {reference}");
                }
            }
        }
    }

    #[test]
    fn every_operation_has_an_id_of_its_own_and_describes_every_answer() {
        for (service, _) in FILES {
            let document = document(service).unwrap();
            let mut ids = BTreeSet::new();
            for Operation { method, path, .. } in
                operations().unwrap().iter().filter(|o| o.service == service)
            {
                let operation = &document["paths"][path][method.to_lowercase()];
                let what = format!("{service}.yaml: {method} {path}");
                assert!(operation["summary"].is_string(), "{what}: no summary");
                assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{what}: its id is taken");
                assert_eq!(method == "POST", operation.get("requestBody").is_some(), "{what}: requestBody");
                for (status, answer) in members(&operation["responses"]) {
                    let answer = resolve(document, answer).unwrap();
                    assert!(answer["description"].is_string(), "{what}: {status} has no description");
                }
                let named = |text: &str| path.contains(&format!("{{{text}}}"));
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                for parameter in parameters.filter(|p| p["in"] == "path") {
                    assert!(
                        named(parameter["name"].as_str().unwrap()),
                        "{what}: {parameter} is not in its path"
                    );
                }
            }
        }
    }

    #[test]
    fn every_json_body_has_an_example_and_every_example_fits_its_schema() {
        for (service, _) in FILES {
            let document = document(service).unwrap();
            let mut count = 0;
            walk(document, service, &mut |at, node| {
                let Some(media) = node.get("application/json").filter(|_| at.ends_with("/content")) else {
                    return;
                };
                let single = media.get("example").into_iter();
                let several =
                    members(media.get("examples").unwrap_or(&Value::Null)).map(|(_, e)| &e["value"]);
                let all: Vec<_> = single.chain(several).collect();
                assert!(!all.is_empty(), "{at}: no example");
                for example in all {
                    fits(document, &media["schema"], example).unwrap_or_else(|why| panic!("{at}: {why}"));
                    count += 1;
                }
            });
            assert!(count > 5, "{service}.yaml has {count} examples");
        }
    }

    #[test]
    fn pieces_of_the_same_name_are_the_same_in_every_file() {
        let mut known: Vec<(String, &Value, &str)> = Vec::new();
        for (service, _) in FILES {
            let document = document(service).unwrap();
            let common = ["/health", "/ready", "/openapi", "/openapi/{file}"]
                .map(|p| (p.to_owned(), &document["paths"][p]));
            let pieces =
                ["Readiness", "Error"].map(|n| (n.to_owned(), &document["components"]["schemas"][n]));
            for (name, piece) in common.into_iter().chain(pieces) {
                assert!(!piece.is_null(), "{service}.yaml lacks {name}");
                match known.iter().find(|(n, ..)| *n == name) {
                    Some((_, first, from)) => {
                        assert_eq!(*first, piece, "{name} of {from}.yaml and {service}.yaml")
                    }
                    None => known.push((name, piece, service)),
                }
            }
        }
    }

    #[test]
    fn schemas_are_really_checked() {
        let document = document("queue").unwrap();
        let schema = json!({"$ref": "#/components/schemas/Membership"});
        let good = json!({"group": "g", "member": "m", "generation": 1, "partitions": [0]});
        fits(document, &schema, &good).unwrap();
        for (name, bad) in [
            ("group", json!("")),
            ("generation", json!(-1)),
            ("generation", json!("1")),
            ("partitions", json!([-1])),
        ] {
            let mut value = good.clone();
            value[name] = bad;
            fits(document, &schema, &value).unwrap_err();
        }
        fits(document, &schema, &json!({"group": "g"})).unwrap_err();
        fits(document, &json!({"unheard": 1}), &json!(1)).unwrap_err();
        let seen = |status| Observed { method: "GET".to_owned(), path: "/topics".to_owned(), status };
        check_answer(&seen(200), Some("application/json"), br#"{"topics":[]}"#).unwrap();
        check_answer(&seen(200), Some("text/plain"), b"topics").unwrap_err();
        check_answer(&seen(200), Some("application/json"), b"{}").unwrap_err();
        check_answer(&seen(418), Some("application/json"), b"{}").unwrap_err();
        assert_eq!(undocumented(&[seen(200), seen(431), seen(418)]).unwrap(), [seen(418)]);
    }
}
