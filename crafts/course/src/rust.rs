//! Small edits of Rust sources, by tokens: what stands in a comment or in a string is not mistaken for code, and
//! everything else keeps its form.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use std::{collections::BTreeSet, ops::Range};

/// A problem with a source, without its path.
type Problem = String;

/// Every identifier in the code.
pub(crate) fn identifiers(source: &str) -> Result<BTreeSet<String>, Problem> {
    Ok(leaves(source)?.iter().filter_map(ident).collect())
}

/// Whether the code declares a type of this name.
pub(crate) fn declares(source: &str, name: &str) -> Result<bool, Problem> {
    let tokens = leaves(source)?;
    Ok(tokens.windows(2).any(|pair| {
        let keyword = ident(&pair[0]);
        let is_type = keyword.is_some_and(|k| ["struct", "enum", "type"].contains(&k.as_str()));
        is_type && ident(&pair[1]).is_some_and(|n| n == name)
    }))
}

/// Replaces an identifier wherever the code says it.
pub(crate) fn replace_identifier(source: &str, from: &str, to: &str) -> Result<String, Problem> {
    let found: Vec<_> = leaves(source)?.into_iter().filter(|t| ident(t).is_some_and(|i| i == from)).collect();
    if found.is_empty() {
        return Err(format!("does not name {from}"));
    }
    Ok(replace(source, found.iter().map(|token| (token.span().byte_range(), to))))
}

/// Gives the constant `name`, which is a string, another value.
pub(crate) fn replace_constant(source: &str, name: &str, value: &str) -> Result<String, Problem> {
    let tokens = leaves(source)?;
    let at = tokens.windows(2).position(|pair| {
        ident(&pair[0]).is_some_and(|i| i == "const") && ident(&pair[1]).is_some_and(|i| i == name)
    });
    let literal = at.and_then(|at| tokens[at..].iter().find(|t| matches!(t, TokenTree::Literal(_))));
    let Some(literal) = literal else { return Err(format!("has no string constant {name}")) };
    let value = format!("{value:?}");
    Ok(replace(source, [(literal.span().byte_range(), value.as_str())]))
}

/// Declares module `new` right after module `after`, in a paragraph of its own, so that a formatter that sorts
/// neighbours has nothing to sort.
pub(crate) fn add_module(source: &str, after: &str, new: &str) -> Result<String, Problem> {
    let at = module_line(source, after)?;
    let mut lines: Vec<&str> = source.lines().collect();
    let declaration = format!("pub mod {new};");
    let mut paragraph = vec!["", &declaration];
    if lines.get(at + 1).is_some_and(|next| !next.is_empty()) {
        paragraph.push("");
    }
    lines.splice(at + 1..at + 1, paragraph);
    Ok(lines.join("\n") + "\n")
}

/// Takes away the declaration of a module, with the attributes and the comment above it.
pub(crate) fn remove_module(source: &str, name: &str) -> Result<String, Problem> {
    let at = module_line(source, name)?;
    let lines: Vec<&str> = source.lines().collect();
    let belongs = |line: &&&str| line.starts_with("#[") || line.starts_with("//") && !line.starts_with("//!");
    let above = lines[..at].iter().rev().take_while(belongs).count();
    Ok(without_lines(&lines, at - above..at + 1))
}

/// Takes away lines of any text: each is told without its indentation, and must be there exactly once.
pub(crate) fn cut_lines(text: &str, cut: &[String]) -> Result<String, Problem> {
    let mut text = text.to_owned();
    for line in cut {
        let lines: Vec<&str> = text.lines().collect();
        let mut found = lines.iter().enumerate().filter(|(_, l)| l.trim() == line.trim()).map(|(at, _)| at);
        let (Some(at), None) = (found.next(), found.next()) else {
            let times = lines.iter().filter(|l| l.trim() == line.trim()).count();
            return Err(format!(
                "is to lose the line {line:?}, which must be there once; it is there {times} times"
            ));
        };
        text = without_lines(&lines, at..at + 1);
    }
    Ok(text)
}

/// What is left; an empty line above and one below the gap become one.
fn without_lines(lines: &[&str], gap: Range<usize>) -> String {
    let blank = |at: Option<usize>| at.and_then(|at| lines.get(at)).is_none_or(|line| line.is_empty());
    let doubled = blank(gap.start.checked_sub(1)) && blank(Some(gap.end));
    let end = if doubled { (gap.end + 1).min(lines.len()) } else { gap.end };
    let left: Vec<&str> = lines[..gap.start].iter().chain(&lines[end..]).copied().collect();
    let trailing = left.iter().rev().take_while(|line| line.is_empty()).count();
    left[..left.len() - trailing].join("\n") + "\n"
}

fn module_line(source: &str, name: &str) -> Result<usize, Problem> {
    let declarations = ["", "pub ", "pub(crate) "].map(|visibility| format!("{visibility}mod {name};"));
    let at = source.lines().position(|line| declarations.iter().any(|d| d == line));
    at.ok_or_else(|| format!("does not declare module {name} on a line of its own"))
}

fn replace<'t>(source: &str, edits: impl IntoIterator<Item = (Range<usize>, &'t str)>) -> String {
    let mut text = source.to_owned();
    let mut edits: Vec<_> = edits.into_iter().collect();
    edits.sort_by_key(|(at, _)| at.start);
    // From the end, so that the places before stay what they are.
    for (at, new) in edits.into_iter().rev() {
        text.replace_range(at, new);
    }
    text
}

/// All tokens, with groups taken apart; documentation, which the lexer turns into attributes, is left out.
fn leaves(source: &str) -> Result<Vec<TokenTree>, Problem> {
    let stream: TokenStream = source.parse().map_err(|e| format!("is no Rust: {e}"))?;
    let mut found = Vec::new();
    collect(stream, &mut found);
    Ok(found)
}

fn collect(stream: TokenStream, found: &mut Vec<TokenTree>) {
    for token in stream {
        match token {
            TokenTree::Group(group) if is_documentation(&group) => {}
            TokenTree::Group(group) => collect(group.stream(), found),
            leaf => found.push(leaf),
        }
    }
}

fn is_documentation(group: &proc_macro2::Group) -> bool {
    let mut tokens = group.stream().into_iter();
    group.delimiter() == Delimiter::Bracket
        && tokens.next().as_ref().and_then(ident).is_some_and(|i| i == "doc")
        && matches!(tokens.next(), Some(TokenTree::Punct(p)) if p.as_char() == '=')
}

fn ident(token: &TokenTree) -> Option<String> {
    match token {
        TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_those_of_the_code_not_of_comments_or_strings() {
        let source = "//! uses mio\n/// and `mio`\n// and mio\nfn a() { log(\"mio\"); mio2::b::<Vec<u8>>() }";
        let found = identifiers(source).unwrap();
        assert!(!found.contains("mio"), "{found:?}");
        assert!(["a", "log", "mio2", "b", "Vec"].iter().all(|i| found.contains(*i)), "{found:?}");
    }

    #[test]
    fn an_identifier_is_replaced_in_code_only() {
        let source =
            "use x::{Ring, RingOf}; // Ring\npub type F = S<Ring, \"é\">; const A: &str = \"Ring\";\n";
        let replaced = replace_identifier(source, "Ring", "Queue").unwrap();
        assert_eq!(
            replaced,
            "use x::{Queue, RingOf}; // Ring\npub type F = S<Queue, \"é\">; const A: &str = \"Ring\";\n"
        );
        assert_eq!(replace_identifier(source, "Pool", "X").unwrap_err(), "does not name Pool");
    }

    #[test]
    fn a_constant_gets_another_value() {
        let source = "pub const NAME: &str = \"phase9\";\nconst B: &str = \"b\";\n";
        let replaced = replace_constant(source, "NAME", "a \"b\"").unwrap();
        assert_eq!(replaced, "pub const NAME: &str = \"a \\\"b\\\"\";\nconst B: &str = \"b\";\n");
        assert!(replace_constant(source, "TITLE", "x").is_err());
    }

    #[test]
    fn a_module_is_declared_in_a_paragraph_of_its_own() {
        let source = "//! x\n\npub mod engine;\npub mod http;\n\npub mod limit;\n";
        let added = add_module(source, "engine", "blocking").unwrap();
        assert_eq!(
            added,
            "//! x\n\npub mod engine;\n\npub mod blocking;\n\npub mod http;\n\npub mod limit;\n"
        );
        let added = add_module(source, "http", "blocking").unwrap();
        assert_eq!(added, "//! x\n\npub mod engine;\npub mod http;\n\npub mod blocking;\n\npub mod limit;\n");
        assert!(add_module(source, "ring", "blocking").is_err());
    }

    #[test]
    fn a_module_leaves_with_what_stands_above_it() {
        let source = "//! x\n\npub mod a;\n\n// Why.\n#[cfg(unix)]\nmod ring;\n\npub mod c;\n";
        assert_eq!(remove_module(source, "ring").unwrap(), "//! x\n\npub mod a;\n\npub mod c;\n");
        assert_eq!(remove_module("mod a;\nmod b;\n", "b").unwrap(), "mod a;\n");
        assert_eq!(remove_module("//! x\nmod a;\nmod b;\n", "a").unwrap(), "//! x\nmod b;\n");
    }

    #[test]
    fn lines_are_cut_once_or_not_at_all() {
        let text = "one\n    two\n\nthree\n\nfour\nfour\n";
        let cut = |lines: &[&str]| cut_lines(text, &lines.iter().map(|&l| l.to_owned()).collect::<Vec<_>>());
        assert_eq!(cut(&["two", "three"]).unwrap(), "one\n\nfour\nfour\n");
        assert!(cut(&["four"]).unwrap_err().contains("it is there 2 times"));
        assert!(cut(&["five"]).unwrap_err().contains("it is there 0 times"));
    }

    #[test]
    fn a_type_is_declared_not_only_named() {
        assert!(declares("/// A.\npub struct A<T>(T);", "A").unwrap());
        assert!(!declares("// struct A;\nuse x::A; impl A {}", "A").unwrap());
        assert!(declares("fn (", "A").unwrap_err().starts_with("is no Rust"));
    }
}
