//! The commands that a learner is told to type: what stands in boxes of `sh`, in the book and in the labs.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // shared by several test programs, each using its part

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A command, as words, and the file that tells it.
pub type Told = (String, Vec<String>);

/// All of them, file by file. The tutorial of phase 0 has a test of its own, which types it from top to bottom.
pub fn told(tree: &Path) -> Vec<Told> {
    let mut files = vec![tree.join("README.md"), tree.join("CONTRIBUTING.md")];
    // Briefs before the guides to them: a lab is started first where it is told first.
    for dir in ["docs", "labs"] {
        texts(&tree.join(dir), &mut files);
    }
    let mut found = Vec::new();
    for file in files {
        let name = file.strip_prefix(tree).unwrap().to_str().unwrap().to_owned();
        let commands = commands(&fs::read_to_string(&file).unwrap());
        found.extend(commands.into_iter().map(|words| (name.clone(), words)));
    }
    found
}

/// The texts below a folder, by name; a learner's own work is none of ours.
fn texts(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("work") {
            texts(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The commands in a text's boxes, wherever they are indented to.
fn commands(text: &str) -> Vec<Vec<String>> {
    let (mut found, mut in_box) = (Vec::new(), false);
    for line in text.lines() {
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            in_box = kind == "sh";
        } else if in_box {
            found.extend(shell_commands(line));
        }
    }
    found
}

/// The commands of a line: words and quotations, up to a comment.
fn shell_commands(line: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    for c in line.chars().chain([' ', ';']) {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '#') if word.is_none() => break,
            // A shell within the shell types its commands like anybody.
            (None, '(') if word.is_none() => {}
            (None, ' ' | ';' | '&' | '|' | ')') => {
                words.extend(word.take());
                if c != ' ' {
                    commands.push(std::mem::take(&mut words));
                }
            }
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    commands.push(words);
    commands.retain(|words| !words.is_empty());
    commands
}

#[test]
fn a_line_of_the_shell_is_its_commands() {
    let commands = shell_commands("cargo craft query 'a > 1' --x=\"b c\" & craft up  # and 'more' | less");
    assert_eq!(commands, [vec!["cargo", "craft", "query", "a > 1", "--x=b c"], vec!["craft", "up"]]);
    assert_eq!(shell_commands("(cd a && b)"), [vec!["cd", "a"], vec!["b"]]);
    assert_eq!(shell_commands("# nothing"), Vec::<Vec<String>>::new());
}

#[test]
fn only_boxes_of_the_shell_are_commands() {
    let text = "```sh\na\n```\nb\n   ```sh\n   c d\n   ```\n```toml\ne = 1\n```\n";
    assert_eq!(commands(text), [vec!["a"], vec!["c", "d"]]);
}
