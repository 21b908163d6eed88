//! `craft book`: the course as a book, built from `docs/` by the mdBook library, without anything to install.
//!
//! Before mdBook sees a chapter, its directives are replaced ([`text`]): code that compiles, tables that a bench run
//! wrote, what the course's table says of a phase. So nothing in the book is a copy that could grow old, and what a chapter
//! names and the tree does not have is an error.
//!
//! It serves nothing: `craft up` does, from the directory that this has written.

mod item;
mod text;

#[cfg(test)]
mod tests;

use crate::style::{out, say};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use course::TABLE_FILE;
use mdbook_driver::{MDBook, config::Config};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};
use text::Expander;

/// Where the sources are, below the root of the repository.
const SOURCES: &str = "docs";
/// Says that a directory was written by this, and may be replaced by it.
const MARK: &str = ".craft-book";

/// Arguments of `craft book`.
#[derive(Args)]
pub(crate) struct BookArgs {
    /// Write it into this directory, which it replaces.
    #[arg(long, value_name = "DIR", default_value = "target/book")]
    out: PathBuf,
}

pub(crate) fn run(args: &BookArgs) -> Result<ExitCode> {
    build(&root()?, &args.out)?;
    out!("{}", args.out.join("index.html").display());
    say("`cargo craft up` serves it at /book/");
    Ok(ExitCode::SUCCESS)
}

/// Builds the book of the tree at `root` into `out`. What was there stays until the new one is whole.
///
/// # Errors
/// A chapter is missing or names something that is not there; `out` holds something that is no book.
fn build(root: &Path, out: &Path) -> Result<()> {
    ensure_replaceable(out)?;
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    let beside =
        tempfile::tempdir_in(parent).with_context(|| format!("cannot write in {}", parent.display()))?;
    let fresh = beside.path().join("book");
    let mut book = load(root)?;
    book.config.build.build_dir = std::path::absolute(&fresh)?;
    book.build()?;
    fs::write(fresh.join(MARK), "Written by `craft book`, which replaces this directory.\n")?;
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("cannot replace {}", out.display()))?;
    }
    fs::rename(&fresh, out).with_context(|| format!("cannot move the book to {}", out.display()))
}

/// The book with its directives replaced.
fn load(root: &Path) -> Result<MDBook> {
    let sources = root.join(SOURCES);
    let config = Config::from_disk(sources.join("book.toml"))?;
    let mut book = MDBook::load_with_config(sources, config)?;
    let expander = Expander::new(root)?;
    let mut wrong = Vec::new();
    book.book.for_each_chapter_mut(|chapter| match expander.expand(&chapter.content) {
        Ok(content) => chapter.content = content,
        Err(why) => wrong.push(format!("{}: {why}", chapter.name)),
    });
    ensure!(wrong.is_empty(), "the book cannot be built:\n  {}", wrong.join("\n  "));
    Ok(book)
}

/// To build a book is to delete what is there: nobody should lose their home to a slip of the hand.
fn ensure_replaceable(out: &Path) -> Result<()> {
    let Ok(mut entries) = fs::read_dir(out) else {
        ensure!(!out.exists(), "{} is no directory", out.display());
        return Ok(());
    };
    if entries.next().is_some() && !out.join(MARK).is_file() {
        bail!("{} holds something that is no book of ours; name another directory with --out", out.display());
    }
    Ok(())
}

/// The directory of the project, from wherever in it the command was given.
fn root() -> Result<PathBuf> {
    let here = env::current_dir()?;
    let root = here.ancestors().find(|dir| dir.join(TABLE_FILE).is_file());
    root.map(Path::to_owned)
        .with_context(|| format!("{TABLE_FILE} is not here nor above; run this in the repository"))
}
