//! The manifests of a workspace from which files were taken: they forget the packages that are gone, and the libraries
//! that nobody asks for any more.
//!
//! What is still asked for is read from the sources: a library stays when the code of a package names it. Only packages
//! of which files were changed are looked at; the others' manifests keep their form.

use crate::{
    CourseError,
    lock::{self, Members},
    rust,
    table::Unlock,
    tree::{Tree, is_below},
};
use std::collections::BTreeSet;
use toml_edit::{Decor, DocumentMut, Item, TableLike};

const ROOT: &str = "Cargo.toml";
const LOCK: &str = "Cargo.lock";

/// Brings manifests and lock file into line with the files that are left; the package in `dir` counts as changed.
pub(crate) fn trim(tree: &mut Tree<'_>, dir: &str, unlock: &[Unlock]) -> Result<(), CourseError> {
    let mut root = read(tree, ROOT)?;
    forget_members(&mut root, tree)?;
    let gone = gone_packages(&root, tree);
    let mut members = read_members(&root, tree)?;
    for at in 0..members.len() {
        let inside = inside(&members, at, tree);
        let member = &mut members[at];
        member.forget_packages(&gone);
        if member.dir == dir || inside.iter().any(|path| tree.changed().contains(*path)) {
            let named = named_in(tree, &inside)?;
            member.forget_unnamed(&named);
            member.forget_targets(&inside.iter().copied().filter(|path| tree.has(path)).collect());
        }
    }
    forget_unused(&mut root, &members);

    let known = members.iter().map(|m| (m.package.clone(), m.packages_named(&root))).collect::<Members>();
    let locked =
        lock::trim(&tree.text(LOCK)?, &known, unlock).map_err(|problem| CourseError::file(LOCK, problem))?;
    let names = lock::names(&locked).map_err(|problem| CourseError::file(LOCK, problem))?;
    forget_profiles(&mut root, &names);

    tree.put(LOCK, &locked)?;
    tree.put(ROOT, &root.to_string())?;
    for member in members {
        tree.put(&member.path(), &member.manifest.to_string())?;
    }
    Ok(())
}

/// A package of the workspace.
struct Member {
    dir: String,
    package: String,
    manifest: DocumentMut,
}

impl Member {
    fn path(&self) -> String {
        format!("{}/{ROOT}", self.dir)
    }

    fn forget_packages(&mut self, gone: &BTreeSet<String>) {
        forget_dependencies(&mut self.manifest, &[CODE[0], CODE[1], BUILD], |key| !gone.contains(key));
    }

    fn forget_unnamed(&mut self, named: &BTreeSet<String>) {
        forget_dependencies(&mut self.manifest, &CODE, |key| named.contains(&key.replace('-', "_")));
    }

    /// Forgets tests, examples and the like that say which file they are, when the file is gone.
    fn forget_targets(&mut self, files: &BTreeSet<&str>) {
        let dir = self.dir.clone();
        for (kind, folder) in
            [("bin", "src/bin"), ("test", "tests"), ("bench", "benches"), ("example", "examples")]
        {
            let Some(targets) = self.manifest.get_mut(kind).and_then(Item::as_array_of_tables_mut) else {
                continue;
            };
            targets.retain(|target| {
                let text = |key| target.get(key).and_then(Item::as_str);
                let name = text("name").unwrap_or_default();
                let usual = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/main.rs")];
                let places = text("path").map_or(usual.to_vec(), |path| vec![path.to_owned()]);
                places.iter().any(|place| files.contains(format!("{dir}/{place}").as_str()))
            });
            if targets.is_empty() {
                self.manifest.remove(kind);
            }
        }
    }

    /// The packages behind its dependencies, which a manifest may call by other names.
    fn packages_named(&self, root: &DocumentMut) -> BTreeSet<String> {
        let shared = root.get("workspace").and_then(|w| w.get("dependencies"));
        let mut found = BTreeSet::new();
        for table in dependency_tables(&self.manifest) {
            for (key, spec) in table.iter() {
                let spec = if is_shared(spec) { shared.and_then(|s| s.get(key)) } else { Some(spec) };
                let package = spec.and_then(|s| s.get("package")).and_then(Item::as_str);
                found.insert(package.unwrap_or(key).to_owned());
            }
        }
        found
    }
}

fn read(tree: &Tree<'_>, path: &str) -> Result<DocumentMut, CourseError> {
    tree.text(path)?
        .parse()
        .map_err(|e: toml_edit::TomlError| CourseError::file(path, e.message().to_owned()))
}

fn read_members(root: &DocumentMut, tree: &Tree<'_>) -> Result<Vec<Member>, CourseError> {
    let listed = root.get("workspace").and_then(|w| w.get("members")).and_then(Item::as_array);
    let listed = listed.ok_or_else(|| CourseError::file(ROOT, "has no workspace.members"))?;
    let mut members = Vec::new();
    for dir in listed.iter().filter_map(|member| member.as_str()) {
        let path = format!("{dir}/{ROOT}");
        let manifest = read(tree, &path)?;
        let package = manifest.get("package").and_then(|p| p.get("name")).and_then(Item::as_str);
        let package = package.ok_or_else(|| CourseError::file(&path, "has no package.name"))?.to_owned();
        members.push(Member { dir: dir.to_owned(), package, manifest });
    }
    Ok(members)
}

fn forget_members(root: &mut DocumentMut, tree: &Tree<'_>) -> Result<(), CourseError> {
    let workspace = root.get_mut("workspace").and_then(Item::as_table_like_mut);
    let workspace = workspace.ok_or_else(|| CourseError::file(ROOT, "has no workspace"))?;
    for key in ["members", "default-members", "exclude"] {
        let Some(listed) = workspace.get_mut(key).and_then(Item::as_array_mut) else { continue };
        listed.retain(|dir| dir.as_str().is_none_or(|dir| tree.has(&format!("{dir}/{ROOT}"))));
        if listed.is_empty() {
            workspace.remove(key);
        }
    }
    Ok(())
}

/// The names of the workspace's own packages that are no longer there.
fn gone_packages(root: &DocumentMut, tree: &Tree<'_>) -> BTreeSet<String> {
    let shared = root.get("workspace").and_then(|w| w.get("dependencies")).and_then(Item::as_table_like);
    let is_gone = |spec: &Item| {
        let path = spec.get("path").and_then(Item::as_str);
        path.is_some_and(|path| !tree.has(&format!("{path}/{ROOT}")))
    };
    let gone = shared.into_iter().flat_map(|shared| shared.iter()).filter(|(_, spec)| is_gone(spec));
    gone.map(|(key, _)| key.to_owned()).collect()
}

/// The Rust files of a member, those that were removed as well; without those of members inside it.
fn inside<'p>(members: &[Member], at: usize, tree: &'p Tree<'_>) -> Vec<&'p str> {
    let dir = &members[at].dir;
    let nested = |path: &str| {
        members.iter().any(|m| m.dir.len() > dir.len() && is_below(&m.dir, dir) && is_below(path, &m.dir))
    };
    let all = tree.paths().chain(tree.changed().iter().map(String::as_str));
    all.filter(|path| path.ends_with(".rs") && is_below(path, dir) && !nested(path)).collect()
}

fn named_in(tree: &Tree<'_>, files: &[&str]) -> Result<BTreeSet<String>, CourseError> {
    let mut named = BTreeSet::new();
    for path in files.iter().filter(|path| tree.has(path)) {
        let found =
            rust::identifiers(&tree.text(path)?).map_err(|problem| CourseError::file(path, problem))?;
        named.extend(found);
    }
    Ok(named)
}

/// Forgets shared dependencies that no member shares.
fn forget_unused(root: &mut DocumentMut, members: &[Member]) {
    let mut used = BTreeSet::new();
    for member in members {
        for table in dependency_tables(&member.manifest) {
            used.extend(table.iter().filter(|(_, spec)| is_shared(spec)).map(|(key, _)| key.to_owned()));
        }
    }
    let shared = root.get_mut("workspace").and_then(|w| w.get_mut("dependencies"));
    if let Some(shared) = shared.and_then(Item::as_table_like_mut) {
        forget_keys(shared, |key| used.contains(key));
    }
}

/// Forgets how to build packages that are not there.
fn forget_profiles(root: &mut DocumentMut, packages: &BTreeSet<String>) {
    let Some(profiles) = root.get_mut("profile").and_then(Item::as_table_like_mut) else { return };
    for (_, profile) in profiles.iter_mut() {
        let overrides = profile.get_mut("package").and_then(Item::as_table_like_mut);
        if let Some(overrides) = overrides {
            forget_keys(overrides, |key| key == "*" || packages.contains(key));
        }
    }
}

/// Forgets entries. The blank line above a group of them stays when its first one leaves.
fn forget_keys(table: &mut dyn TableLike, keep: impl Fn(&str) -> bool) {
    let keys: Vec<String> = table.iter().map(|(key, _)| key.to_owned()).collect();
    let mut begins_group = false;
    for key in keys {
        let begins = with_decor(table, &key, |decor| prefix(decor).starts_with('\n'));
        if !keep(&key) {
            begins_group |= begins;
            table.remove(&key);
            continue;
        }
        if begins_group && !begins {
            with_decor(table, &key, |decor| decor.set_prefix(format!("\n{}", prefix(decor))));
        }
        begins_group = false;
    }
}

/// Looks at what stands above an entry: blank lines and comments.
fn with_decor<T: Default>(table: &mut dyn TableLike, key: &str, look: impl FnOnce(&mut Decor) -> T) -> T {
    match table.get_key_value_mut(key) {
        None => T::default(),
        Some((_, Item::Table(table))) if !table.is_dotted() => look(table.decor_mut()),
        Some((mut key, _)) => look(key.leaf_decor_mut()),
    }
}

fn prefix(decor: &Decor) -> &str {
    decor.prefix().and_then(|prefix| prefix.as_str()).unwrap_or_default()
}

fn is_shared(spec: &Item) -> bool {
    spec.get("workspace").and_then(Item::as_bool).unwrap_or(false)
}

/// Where a manifest names what its code uses, and what its build script uses.
const CODE: [&str; 2] = ["dependencies", "dev-dependencies"];
const BUILD: &str = "build-dependencies";

fn dependency_tables(manifest: &DocumentMut) -> impl Iterator<Item = &dyn TableLike> {
    let platforms = manifest.get("target").and_then(Item::as_table_like);
    let platforms = platforms.into_iter().flat_map(|t| t.iter()).filter_map(|(_, p)| p.as_table_like());
    let holders = std::iter::once(manifest.as_table() as &dyn TableLike).chain(platforms);
    let is_table = |key: &str| CODE.contains(&key) || key == BUILD;
    holders
        .flat_map(move |holder| holder.iter().filter(move |(key, _)| is_table(key)))
        .filter_map(|(_, t)| t.as_table_like())
}

/// Forgets dependencies of these kinds; a kind of which none is left, and a platform, go with them.
fn forget_dependencies(manifest: &mut DocumentMut, kinds: &[&str], keep: impl Fn(&str) -> bool) {
    forget_in(manifest.as_table_mut(), kinds, &keep);
    let Some(platforms) = manifest.get_mut("target").and_then(Item::as_table_like_mut) else { return };
    for (_, platform) in platforms.iter_mut() {
        if let Some(platform) = platform.as_table_like_mut() {
            forget_in(platform, kinds, &keep);
        }
    }
    let empty = |item: &Item| item.as_table_like().is_some_and(|table| table.is_empty());
    let deserted: Vec<_> =
        platforms.iter().filter(|(_, p)| empty(p)).map(|(key, _)| key.to_owned()).collect();
    deserted.iter().for_each(|key| drop(platforms.remove(key)));
    if platforms.is_empty() {
        manifest.remove("target");
    }
}

fn forget_in(holder: &mut dyn TableLike, kinds: &[&str], keep: &impl Fn(&str) -> bool) {
    for kind in kinds {
        let Some(table) = holder.get_mut(kind).and_then(Item::as_table_like_mut) else { continue };
        forget_keys(table, keep);
        if table.is_empty() {
            holder.remove(kind);
        }
    }
}
