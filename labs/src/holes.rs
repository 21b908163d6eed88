//! Holes: the bodies of named functions, replaced by `todo!()`.
//!
//! Only the bytes of the bodies change. Everything else keeps its form: documentation, signatures, comments, the other
//! functions. So a starter never drifts from the code it was made from, and that code carries no marks.

use std::ops::Range;
use syn::{Attribute, ImplItem, Item, Meta, Token, Type, punctuated::Punctuated, spanned::Spanned};

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

/// The source without its modules of tests: they need what a lab's own crate does not have.
///
/// # Errors
/// The source is no Rust.
pub fn without_tests(source: &str) -> Result<String, String> {
    let mut text = source.to_owned();
    let items = parsed(source)?.items;
    // From the last one, so that the places of those before it stay as they are.
    for item in items.iter().rev() {
        if let Item::Mod(module) = item
            && module.attrs.iter().any(is_for_tests)
        {
            let Range { start, end } = module.span().byte_range();
            let before = text[..start].trim_end().len();
            text.replace_range(before..end, "");
        }
    }
    Ok(text)
}

/// `#[cfg(test)]`, and `#[cfg(all(test, …))]`.
fn is_for_tests(attribute: &Attribute) -> bool {
    fn asks_for_tests(meta: &Meta) -> bool {
        match meta {
            Meta::Path(path) => path.is_ident("test"),
            Meta::List(list) if list.path.is_ident("cfg") || list.path.is_ident("all") => list
                .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
                .is_ok_and(|parts| parts.iter().any(asks_for_tests)),
            _ => false,
        }
    }
    attribute.path().is_ident("cfg") && asks_for_tests(&attribute.meta)
}

fn parsed(source: &str) -> Result<syn::File, String> {
    syn::parse_file(source).map_err(|e| {
        let start = e.span().start();
        format!("line {}: {e}", start.line)
    })
}

fn body_of(source: &str, hole: &str) -> Result<Range<usize>, String> {
    let file = parsed(source)?;
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
    fn modules_of_tests_are_left_out_and_nothing_else_changes() {
        let tests = "\n#[cfg(all(test, not(loom)))]\nmod tests {\n    #[test]\n    fn adds() {}\n}\n";
        assert_eq!(without_tests(&format!("{SOURCE}{tests}")).unwrap(), SOURCE);
        let inner = "\n#[cfg(test)]\nmod tests;\n\n#[cfg(not(test))]\nmod kept {}\n";
        assert_eq!(
            without_tests(&format!("{SOURCE}{inner}")).unwrap(),
            format!("{SOURCE}\n#[cfg(not(test))]\nmod kept {{}}\n")
        );
        assert_eq!(without_tests(SOURCE).unwrap(), SOURCE);
    }

    #[test]
    fn two_functions_of_a_name_are_an_error() {
        let twice = "impl A for T { fn f() {} } impl B for T { fn f() {} }";
        assert_eq!(make(twice, &["T::f"]).unwrap_err(), "there are 2 functions T::f");
    }
}
