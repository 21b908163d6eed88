//! Items of a Rust file, found by their names: what a chapter shows is so always what compiles.
//!
//! A name is that of an item (`Window`), of something in an `impl` or a trait (`Window::admit`), or a whole block
//! (`impl Limit for ShardedLimiter`). An item comes with its documentation and its attributes; what stands in a block is
//! shown within the block's first and last line.

use std::ops::Range;
use syn::{Attribute, ImplItem, Item, ItemImpl, ItemTrait, TraitItem, Type, spanned::Spanned};

/// The source text of all these items, with commas between their names.
///
/// # Errors
/// The source is no Rust, or a name is not there exactly once.
pub(super) fn find(source: &str, names: &str) -> Result<String, String> {
    let file = syn::parse_file(source).map_err(|e| format!("is no Rust: {e}"))?;
    let mut shown = String::new();
    let mut open: Option<String> = None;
    for name in names.split(',').map(str::trim) {
        let Place { head, at } = only(places(source, &file.items, name), name)?;
        if open.is_some() && open != head {
            shown.push_str("}\n");
        }
        if !shown.is_empty() {
            shown.push('\n');
        }
        if let Some(head) = head.as_ref().filter(|head| open.as_ref() != Some(head)) {
            // The empty line between two blocks stands above the head; within a block, above the item.
            shown.push_str(head);
            shown.push_str(" {\n");
        }
        shown.push_str(lines_of(source, &at).trim_end());
        shown.push('\n');
        open = head;
    }
    if open.is_some() {
        shown.push_str("}\n");
    }
    Ok(shown)
}

/// The text of a file's own documentation: its lines that begin with `//!`.
pub(super) fn module_docs(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
}

/// Where something stands.
struct Place {
    /// The beginning of the block around it, up to the brace.
    head: Option<String>,
    at: Range<usize>,
}

fn only(places: Vec<Place>, name: &str) -> Result<Place, String> {
    let count = places.len();
    let mut places = places.into_iter();
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (None, _) => Err(format!("has no item {name}")),
        _ => Err(format!("has {count} items {name}")),
    }
}

fn places(source: &str, items: &[Item], name: &str) -> Vec<Place> {
    let mut found = Vec::new();
    for item in items {
        match item {
            Item::Impl(block) if name.starts_with("impl ") && block_name(block) == name => {
                found.push(Place { head: None, at: item.span().byte_range() });
            }
            Item::Impl(block) => {
                let inside = name.strip_prefix(&type_name(&block.self_ty)).and_then(|n| n.strip_prefix("::"));
                found.extend(inside.into_iter().flat_map(|inside| in_impl(source, block, inside)));
            }
            Item::Trait(block) if block.ident == name => {
                found.push(Place { head: None, at: item.span().byte_range() });
            }
            Item::Trait(block) => {
                let inside = name.strip_prefix(&block.ident.to_string()).and_then(|n| n.strip_prefix("::"));
                found.extend(inside.into_iter().flat_map(|inside| in_trait(source, block, inside)));
            }
            other if plain_name(other).is_some_and(|own| own == name) => {
                found.push(Place { head: None, at: item.span().byte_range() });
            }
            _ => {}
        }
    }
    found
}

fn in_impl(source: &str, block: &ItemImpl, name: &str) -> Vec<Place> {
    let brace = block.brace_token.span.open().byte_range().start;
    let head = head(source, block.span().byte_range().start, &block.attrs, brace);
    let is_it = |item: &&ImplItem| match item {
        ImplItem::Fn(function) => function.sig.ident == name,
        ImplItem::Const(constant) => constant.ident == name,
        ImplItem::Type(alias) => alias.ident == name,
        _ => false,
    };
    let items = block.items.iter().filter(is_it);
    items.map(|item| Place { head: Some(head.clone()), at: item.span().byte_range() }).collect()
}

fn in_trait(source: &str, block: &ItemTrait, name: &str) -> Vec<Place> {
    let brace = block.brace_token.span.open().byte_range().start;
    let head = head(source, block.span().byte_range().start, &block.attrs, brace);
    let is_it = |item: &&TraitItem| match item {
        TraitItem::Fn(function) => function.sig.ident == name,
        TraitItem::Const(constant) => constant.ident == name,
        TraitItem::Type(alias) => alias.ident == name,
        _ => false,
    };
    let items = block.items.iter().filter(is_it);
    items.map(|item| Place { head: Some(head.clone()), at: item.span().byte_range() }).collect()
}

/// A block from behind its attributes up to its brace.
fn head(source: &str, start: usize, attributes: &[Attribute], brace: usize) -> String {
    let start = attributes.last().map_or(start, |last| last.span().byte_range().end);
    source[start..brace].trim().to_owned()
}

/// `impl Limit for ShardedLimiter`, `impl Shard`: without parameters.
fn block_name(block: &ItemImpl) -> String {
    let name = type_name(&block.self_ty);
    let of = block.trait_.as_ref().and_then(|(path, ..)| path.segments.last());
    of.map_or_else(|| format!("impl {name}"), |of| format!("impl {} for {name}", of.ident))
}

fn type_name(of: &Type) -> String {
    match of {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default(),
        _ => String::new(),
    }
}

fn plain_name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// From the beginning of its first line.
fn lines_of<'s>(source: &'s str, at: &Range<usize>) -> &'s str {
    let start = source[..at.start].rfind('\n').map_or(0, |newline| newline + 1);
    &source[start..at.end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"//! A file.
//!
//! Of some é.

use std::fmt;

/// How many, with an é.
const MAX: usize = 3; // not shown

/// A thing.
#[derive(Debug)]
pub struct Thing<'a> {
    text: &'a str,
}

impl<'a> Thing<'a> {
    /// Makes one.
    pub fn new(text: &'a str) -> Self {
        Self { text }
    }

    fn len(&self) -> usize {
        self.text.len()
    }
}

impl fmt::Display for Thing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Does it.
pub trait Act {
    /// Now.
    fn act(&self);
}
"#;

    #[test]
    fn an_item_comes_with_its_documentation_and_attributes() {
        assert_eq!(find(SOURCE, "MAX").unwrap(), "/// How many, with an é.\nconst MAX: usize = 3;\n");
        let thing = "/// A thing.\n#[derive(Debug)]\npub struct Thing<'a> {\n    text: &'a str,\n}\n";
        assert_eq!(find(SOURCE, "Thing").unwrap(), thing);
        assert_eq!(find(SOURCE, "MAX, Thing").unwrap().matches("\n\n").count(), 1);
    }

    #[test]
    fn what_stands_in_a_block_is_shown_within_it() {
        let len = "impl<'a> Thing<'a> {\n    fn len(&self) -> usize {\n        self.text.len()\n    }\n}\n";
        assert_eq!(find(SOURCE, "Thing::len").unwrap(), len);
        let both = find(SOURCE, "Thing::new, Thing::len").unwrap();
        assert_eq!(both.matches("impl").count(), 1);
        assert!(both.contains("    }\n\n    fn len"), "{both}");
        let two_blocks = find(SOURCE, "Thing::len, Act::act, MAX").unwrap();
        assert!(
            two_blocks.contains("}\n\npub trait Act {\n    /// Now.\n    fn act(&self);\n}\n\n/// How"),
            "{two_blocks}"
        );
        let whole = find(SOURCE, "impl Display for Thing").unwrap();
        assert!(whole.starts_with("impl fmt::Display for Thing<'_> {\n    fn fmt"), "{whole}");
    }

    #[test]
    fn a_name_that_is_not_there_once_is_refused() {
        assert_eq!(find(SOURCE, "Thong").unwrap_err(), "has no item Thong");
        assert_eq!(find(SOURCE, "Thing::size").unwrap_err(), "has no item Thing::size");
        let twice = "struct A; impl A { fn a() {} } impl B for A { fn a() {} }";
        assert_eq!(find(twice, "A::a").unwrap_err(), "has 2 items A::a");
        assert!(find("fn (", "a").unwrap_err().starts_with("is no Rust"));
    }

    #[test]
    fn a_file_speaks_for_itself() {
        assert_eq!(module_docs(SOURCE), "A file.\n\nOf some é.\n");
    }
}
