//! Holes: the bodies of named functions, replaced by `todo!()`.
//!
//! Only the bytes of the bodies change. Everything else keeps its form: documentation, signatures, comments, the other
//! functions. So a starter never drifts from the code it was made from, and that code carries no marks.

use std::ops::Range;
use syn::{ImplItem, Item, Type, spanned::Spanned};

/// Makes holes in a source: `function`, or `Type::function`. A path through modules is told as in `tests::Type::function`.
///
/// # Errors
/// The source is no Rust, or has no such function.
pub fn make(source: &str, holes: &[&str]) -> Result<String, String> {
    let mut text = source.to_owned();
    for hole in holes {
        let body = body_of(&text, hole)?;
        let indentation = indentation_at(&text, body.start);
        text.replace_range(
            body,
            &format!("{{\n{indentation}    todo!(\"lab: write `{hole}`\")\n{indentation}}}"),
        );
    }
    Ok(text)
}

/// Whether the source has this function.
pub fn has(source: &str, hole: &str) -> bool {
    body_of(source, hole).is_ok()
}

fn body_of(source: &str, hole: &str) -> Result<Range<usize>, String> {
    let file = syn::parse_file(source).map_err(|e| {
        let start = e.span().start();
        format!("line {}: {e}", start.line)
    })?;
    let path: Vec<&str> = hole.split("::").collect();
    let mut found = Vec::new();
    collect(&file.items, &path, &mut found);
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => Err(format!("there is no function {hole}")),
        more => Err(format!("there are {} functions {hole}", more.len())),
    }
}

fn collect(items: &[Item], path: &[&str], found: &mut Vec<Range<usize>>) {
    for item in items {
        match (item, path) {
            (Item::Fn(function), [name]) if function.sig.ident == name => {
                found.push(function.block.span().byte_range());
            }
            (Item::Impl(block), [type_name, name]) if is_named(&block.self_ty, type_name) => {
                found.extend(block.items.iter().filter_map(|item| match item {
                    ImplItem::Fn(function) if function.sig.ident == name => {
                        Some(function.block.span().byte_range())
                    }
                    _ => None,
                }));
            }
            (Item::Mod(module), [name, rest @ ..]) if module.ident == name && !rest.is_empty() => {
                if let Some((_, items)) = &module.content {
                    collect(items, rest, found);
                }
            }
            _ => {}
        }
    }
}

fn is_named(self_type: &Type, name: &str) -> bool {
    match self_type {
        Type::Path(path) => path.path.segments.last().is_some_and(|segment| segment.ident == name),
        _ => false,
    }
}

/// The spaces that the line of this byte begins with.
fn indentation_at(text: &str, at: usize) -> String {
    let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    text[line..].chars().take_while(|c| *c == ' ').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "/// Adds.\nfn add(a: u32, b: u32) -> u32 {\n    // by hand\n    a + b\n}\n\nstruct Ring;\n\nimpl Ring {\n    /// Pushes.\n    pub fn push(&self) -> bool { true }\n    fn keep(&self) {}\n}\n";

    #[test]
    fn a_body_is_replaced_and_nothing_else() {
        let holed = make(SOURCE, &["add", "Ring::push"]).unwrap();
        let expected = SOURCE
            .replace("{\n    // by hand\n    a + b\n}", "{\n    todo!(\"lab: write `add`\")\n}")
            .replace("{ true }", "{\n        todo!(\"lab: write `Ring::push`\")\n    }");
        assert_eq!(holed, expected);
    }

    #[test]
    fn a_function_that_is_not_there_is_an_error() {
        assert_eq!(make(SOURCE, &["Ring::pop"]).unwrap_err(), "there is no function Ring::pop");
        assert!(has(SOURCE, "Ring::keep") && !has(SOURCE, "keep"));
        assert!(make("fn a( {", &["a"]).unwrap_err().starts_with("line 1"));
    }

    #[test]
    fn two_functions_of_a_name_are_an_error() {
        let twice = "impl A for T { fn f() {} } impl B for T { fn f() {} }";
        assert_eq!(make(twice, &["T::f"]).unwrap_err(), "there are 2 functions T::f");
    }
}
