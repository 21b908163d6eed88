//! `Cargo.lock`, trimmed to what a workspace with fewer packages and dependencies needs.
//!
//! No version is chosen here and no registry asked: what is left is locked as it was, so that a phase is built from
//! the same libraries as the commit it was made from.

use crate::table::Unlock;
use std::collections::{BTreeMap, BTreeSet};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

/// The packages of a workspace, each with the packages that its manifest names.
pub(crate) type Members = BTreeMap<String, BTreeSet<String>>;

/// A lock file without what no member reaches any more, and without the needs that are told as gone.
pub(crate) fn trim(lock: &str, members: &Members, gone: &[Unlock]) -> Result<String, String> {
    let mut document: DocumentMut = lock.parse().map_err(|e| format!("is no TOML: {e}"))?;
    let packages = document.get_mut("package").and_then(Item::as_array_of_tables_mut);
    let packages = packages.ok_or("has no packages")?;
    let all = Ids(packages.iter().map(Id::of).collect());
    let mut graph = graph(packages, &all, members)?;
    for need in gone {
        forget(&mut graph, need)?;
    }
    let left = Ids(reached(&graph, members));
    packages.retain(|package| left.0.contains(&Id::of(package)));
    for package in packages.iter_mut() {
        let needed = &graph[&Id::of(package)];
        rewrite_dependencies(package, needed, &all, &left)?;
    }
    Ok(document.to_string())
}

/// The names of all packages in a lock file.
pub(crate) fn names(lock: &str) -> Result<BTreeSet<String>, String> {
    let document: DocumentMut = lock.parse().map_err(|e| format!("is no TOML: {e}"))?;
    let packages = document.get("package").and_then(Item::as_array_of_tables).ok_or("has no packages")?;
    Ok(packages.iter().map(|package| Id::of(package).name).collect())
}

/// What tells a package from all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    name: String,
    version: String,
    /// Empty for a package of this repository.
    source: String,
}

impl Id {
    fn of(package: &Table) -> Self {
        let text = |key| package.get(key).and_then(Item::as_str).unwrap_or_default().to_owned();
        Self { name: text("name"), version: text("version"), source: text("source") }
    }
}

struct Ids(BTreeSet<Id>);

impl Ids {
    /// From the form in which a dependency is written: `name`, `name version` or `name version (source)`.
    fn resolve(&self, dependency: &str) -> Result<&Id, String> {
        let mut parts = dependency.splitn(3, ' ');
        let (name, version, source) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
        let source = source.map(|s| s.trim_start_matches('(').trim_end_matches(')'));
        let mut found = self.0.iter().filter(|id| {
            id.name == name
                && version.is_none_or(|v| id.version == v)
                && source.is_none_or(|s| id.source == s)
        });
        match (found.next(), found.next()) {
            (Some(id), None) => Ok(id),
            _ => Err(format!("names the dependency {dependency:?}, which is not one package")),
        }
    }

    /// Into the shortest form that only one package has, which is the one that cargo writes.
    fn shortest(&self, id: &Id) -> String {
        let same_name = self.0.iter().filter(|other| other.name == id.name).count();
        let same_version =
            self.0.iter().filter(|other| other.name == id.name && other.version == id.version).count();
        match (same_name, same_version) {
            (1, _) => id.name.clone(),
            (_, 1) => format!("{} {}", id.name, id.version),
            _ => format!("{} {} ({})", id.name, id.version, id.source),
        }
    }
}

/// What each package needs. Of a member, that is no more than its manifest names.
fn graph(
    packages: &ArrayOfTables,
    all: &Ids,
    members: &Members,
) -> Result<BTreeMap<Id, BTreeSet<Id>>, String> {
    let mut graph = BTreeMap::new();
    for package in packages {
        let id = Id::of(package);
        let mut needed = BTreeSet::new();
        for dependency in dependencies(package) {
            needed.insert(all.resolve(dependency)?.clone());
        }
        if let Some(named) = members.get(&id.name).filter(|_| id.source.is_empty()) {
            needed.retain(|dependency| named.contains(&dependency.name));
        }
        graph.insert(id, needed);
    }
    Ok(graph)
}

fn forget(graph: &mut BTreeMap<Id, BTreeSet<Id>>, gone: &Unlock) -> Result<(), String> {
    let mut found = false;
    for (_, needed) in graph.iter_mut().filter(|(id, _)| id.name == gone.package) {
        found |= needed.iter().any(|id| id.name == gone.needs);
        needed.retain(|id| id.name != gone.needs);
    }
    let (package, needs) = (&gone.package, &gone.needs);
    if found { Ok(()) } else { Err(format!("does not say that {package} needs {needs}")) }
}

fn reached(graph: &BTreeMap<Id, BTreeSet<Id>>, members: &Members) -> BTreeSet<Id> {
    let is_member = |id: &&Id| id.source.is_empty() && members.contains_key(&id.name);
    let mut open: Vec<&Id> = graph.keys().filter(is_member).collect();
    let mut reached = BTreeSet::new();
    while let Some(id) = open.pop() {
        if reached.insert(id.clone()) {
            open.extend(&graph[id]);
        }
    }
    reached
}

fn dependencies(package: &Table) -> Vec<&str> {
    let array = package.get("dependencies").and_then(Item::as_array);
    array.map(|array| array.iter().filter_map(|item| item.as_str()).collect()).unwrap_or_default()
}

fn rewrite_dependencies(
    package: &mut Table,
    needed: &BTreeSet<Id>,
    all: &Ids,
    left: &Ids,
) -> Result<(), String> {
    let written: Vec<String> = dependencies(package).into_iter().map(str::to_owned).collect();
    let Some(array) = package.get_mut("dependencies").and_then(Item::as_array_mut) else { return Ok(()) };
    // From the end, so that the places before stay what they are.
    for (at, dependency) in written.iter().enumerate().rev() {
        let id = all.resolve(dependency)?;
        let shortest = left.shortest(id);
        if !needed.contains(id) {
            array.remove(at);
        } else if shortest != *dependency {
            array.replace(at, shortest);
        }
    }
    if array.is_empty() {
        package.remove("dependencies");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"# This file is automatically @generated by Cargo.
# It is not intended for manual editing.
version = 4

[[package]]
name = "app"
version = "0.1.0"
dependencies = [
 "bench",
 "lib 1.0.0",
 "lib 2.0.0",
]

[[package]]
name = "bench"
version = "0.1.0"
dependencies = [
 "lib 2.0.0",
 "plot",
]

[[package]]
name = "lib"
version = "1.0.0"
source = "registry+https://example.org/index"
checksum = "aa"

[[package]]
name = "lib"
version = "2.0.0"
source = "registry+https://example.org/index"
checksum = "bb"

[[package]]
name = "plot"
version = "3.0.0"
source = "registry+https://example.org/index"
checksum = "cc"
dependencies = [
 "lib 1.0.0",
]
"#;

    fn members(list: &[(&str, &[&str])]) -> Members {
        let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect();
        list.iter().map(|(member, named)| ((*member).to_owned(), names(named))).collect()
    }

    #[test]
    fn nothing_changes_when_everything_is_still_there() {
        let members = members(&[("app", &["bench", "lib"]), ("bench", &["lib", "plot"])]);
        assert_eq!(trim(LOCK, &members, &[]).unwrap(), LOCK);
    }

    #[test]
    fn what_nobody_reaches_leaves_with_its_reason() {
        let trimmed = trim(LOCK, &members(&[("app", &["lib"])]), &[]).unwrap();
        assert_eq!(names(&trimmed).unwrap(), ["app", "lib"].map(str::to_owned).into());
        assert!(!trimmed.contains("plot") && !trimmed.contains("bench"), "{trimmed}");
        assert!(trimmed.contains(" \"lib 1.0.0\",\n \"lib 2.0.0\",\n]"), "{trimmed}");
    }

    #[test]
    fn a_name_that_is_left_once_is_written_without_its_version() {
        let trimmed = trim(LOCK, &members(&[("bench", &["plot"])]), &[]).unwrap();
        assert!(trimmed.contains("name = \"bench\"\nversion = \"0.1.0\"\ndependencies = [\n \"plot\",\n]"));
        assert!(trimmed.contains("dependencies = [\n \"lib\",\n]"), "{trimmed}");
    }

    #[test]
    fn a_package_without_dependencies_has_no_empty_list() {
        let trimmed = trim(LOCK, &members(&[("app", &[])]), &[]).unwrap();
        assert!(trimmed.ends_with("name = \"app\"\nversion = \"0.1.0\"\n"), "{trimmed}");
    }

    #[test]
    fn a_lock_file_that_contradicts_itself_is_refused() {
        let broken = LOCK.replace(" \"plot\",", " \"plof\",");
        let error = trim(&broken, &members(&[("bench", &["plot"])]), &[]).unwrap_err();
        assert!(error.contains("\"plof\", which is not one package"), "{error}");
        assert!(trim("]", &Members::new(), &[]).is_err());
    }

    #[test]
    fn what_only_a_feature_asked_for_can_be_told_as_gone() {
        let need =
            |package: &str, needs: &str| Unlock { package: package.to_owned(), needs: needs.to_owned() };
        let bench = members(&[("bench", &["plot"])]);
        let trimmed = trim(LOCK, &bench, &[need("plot", "lib")]).unwrap();
        assert!(trimmed.ends_with("name = \"plot\"\nversion = \"3.0.0\"\nsource = \"registry+https://example.org/index\"\nchecksum = \"cc\"\n"), "{trimmed}");
        let error = trim(LOCK, &bench, &[need("lib", "plot")]).unwrap_err();
        assert_eq!(error, "does not say that lib needs plot");
    }
}
