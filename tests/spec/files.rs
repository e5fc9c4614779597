//! Which files of the repository are looked at.

use std::fs;
use std::path::{Path, PathBuf};

/// Returns the path of a file or folder of the repository.
pub(crate) fn at(name: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Returns the text of a file of the repository.
pub(crate) fn read(name: impl AsRef<Path>) -> String {
    let path = at(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns all files below these files and folders that have one of these
/// extensions, as paths from the root of the repository. What builds and runs
/// leave behind is left out.
///
/// A folder that is no part of the published package is passed over there.
pub(crate) fn below(names: &[&str], extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for name in names {
        collect(Path::new(name), extensions, &mut found);
    }
    found.sort();
    found
}

fn collect(name: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    let path = at(name);
    if path.is_dir() {
        if ["target", "artifacts", "corpus", "coverage"]
            .map(Some)
            .contains(&file_name(name))
        {
            return;
        }
        for entry in fs::read_dir(path).unwrap() {
            collect(&name.join(entry.unwrap().file_name()), extensions, found);
        }
    } else if path.is_file() && extensions.iter().any(|wanted| has_extension(name, wanted)) {
        found.push(name.to_owned());
    }
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension == wanted)
}
