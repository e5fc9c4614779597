//! Links, paths and commands in the documents lead to something.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::files;

/// The files that the documents name and that are being written. It must
/// become empty: take a file off this list when it is there.
const NOT_YET: &[&str] = &[];

/// What a path in the text of a document can begin with.
const FOLDERS: &[&str] = &[
    "src", "runtimes", "tests", "docs", "examples", "fuzz", "benches", "compare", "cli", ".ci",
];

/// All documents but the pieces from which the benches make `docs/cost.md`.
fn documents() -> Vec<PathBuf> {
    let names = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs",
        "compare",
        "cli",
    ];
    let mut documents = files::below(&names, &["md"]);
    documents.retain(|path| !path.starts_with("docs/cost"));
    documents
}

/// Whether this is a clone of the repository, and not the published package,
/// which has only a part of its folders.
fn is_repository() -> bool {
    let whole = FOLDERS.iter().all(|folder| files::at(folder).is_dir());
    if !whole {
        println!("skipped: this is not the whole repository");
    }
    whole
}

/// What a document says, apart from its code.
struct Text<'a> {
    /// The paragraphs outside of code blocks.
    paragraphs: Vec<&'a str>,
    /// The code blocks.
    blocks: Vec<&'a str>,
}

impl Text<'_> {
    fn of(document: &str) -> Text<'_> {
        let parts = || document.split("```");
        Text {
            paragraphs: parts()
                .step_by(2)
                .flat_map(|part| part.split("\n\n"))
                .collect(),
            blocks: parts().skip(1).step_by(2).collect(),
        }
    }

    /// What may hold paths and commands: the code blocks, and what stands
    /// between backticks.
    fn code(&self) -> impl Iterator<Item = &str> {
        let spans = self
            .paragraphs
            .iter()
            .flat_map(|text| text.split('`').skip(1).step_by(2));
        spans.chain(self.blocks.iter().copied())
    }

    /// The targets of the links.
    fn links(&self) -> impl Iterator<Item = &str> {
        let rests = self
            .paragraphs
            .iter()
            .flat_map(|text| text.split("](").skip(1));
        rests.filter_map(|rest| rest.split(')').next())
    }

    /// The anchors of the headings, as they are on the web.
    fn anchors(&self) -> BTreeSet<String> {
        let lines = self.paragraphs.iter().flat_map(|text| text.lines());
        let headings = lines.filter(|line| line.starts_with('#'));
        let slug = |heading: &str| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        };
        headings.map(slug).collect()
    }
}

/// Says what is wrong with a relative link of a file, if anything.
fn broken(from: &Path, target: &str) -> Option<String> {
    let (name, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match name {
        "" => files::at(from),
        name => files::at(from).parent()?.join(name),
    };
    let wrong = if !path.exists() {
        "does not exist"
    } else if anchor.is_empty() || Text::of(&files::read(path)).anchors().contains(anchor) {
        return None;
    } else {
        "has no such heading"
    };
    Some(format!(
        "{} links to {target}, which {wrong}",
        from.display()
    ))
}

#[test]
fn every_relative_link_leads_somewhere() {
    if !is_repository() {
        return;
    }
    let (mut checked, mut wrong) = (0, Vec::new());
    for document in documents() {
        let text = files::read(&document);
        for target in Text::of(&text)
            .links()
            .filter(|target| !target.contains("://"))
        {
            wrong.extend(broken(&document, target));
            checked += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        checked > 50,
        "only {checked} links were found: is the search still right?"
    );
}

/// Whether a word of a document is a path of the repository, and not a pattern
/// or a placeholder.
fn is_path(word: &str) -> bool {
    let folder = word.split_once('/').map_or("", |(folder, _)| folder);
    FOLDERS.contains(&folder) && !word.contains('*') && !word.contains("NAME")
}

#[test]
fn every_path_that_a_document_names_exists() {
    if !is_repository() {
        return;
    }
    let mut wrong = BTreeSet::new();
    for document in documents() {
        let text = files::read(&document);
        for word in Text::of(&text).code().flat_map(str::split_whitespace) {
            let word = word.trim_matches(|c: char| !c.is_alphanumeric() && !"./_".contains(c));
            let word = word.trim_end_matches('.');
            if is_path(word) && !files::at(word).exists() && !NOT_YET.contains(&word) {
                wrong.insert(format!("{}: {word} does not exist", document.display()));
            }
        }
    }
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for name in NOT_YET {
        assert!(
            !files::at(name).exists(),
            "{name} exists: take it off NOT_YET in {}",
            file!()
        );
    }
}

/// Whether there is a target for an option of cargo, such as `--test`.
fn is_target(option: &str, name: &str) -> bool {
    let places: &[&str] = match option {
        "--example" => &["examples"],
        "--test" => &["tests", "cli/tests"],
        "--bench" => &["benches/benches"],
        _ => return true,
    };
    let is_built_from = |place: &&str| {
        let folder = files::at(place);
        folder.join(format!("{name}.rs")).is_file()
            || folder.join(name).join("main.rs").is_file()
    };
    places.iter().any(is_built_from)
}

#[test]
fn every_example_test_and_bench_of_a_command_exists() {
    if !is_repository() {
        return;
    }
    let mut wrong = Vec::new();
    for document in documents() {
        let text = files::read(&document);
        let text = Text::of(&text);
        let commands = text.code().map(str::split_whitespace);
        for (option, name) in commands.flat_map(|words| words.clone().zip(words.skip(1))) {
            if !is_target(option, name) {
                wrong.push(format!(
                    "{}: there is no `{option} {name}`",
                    document.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_document_that_the_code_names_exists() {
    if !is_repository() {
        return;
    }
    let mut wrong = Vec::new();
    for path in files::below(
        &["src", "runtimes", "tests", "examples", "fuzz", "cli"],
        &["rs"],
    ) {
        let text = files::read(&path);
        for (at, _) in text.match_indices("docs/") {
            let is_end = |c: char| !c.is_alphanumeric() && !"._/#-".contains(c);
            let name = text[at..].split(is_end).next().unwrap_or_default();
            let name = name.trim_end_matches(['.', '/']);
            if name.contains(".md") {
                let said = broken(Path::new("README.md"), name);
                wrong.extend(said.map(|said| format!("{}: {said}", path.display())));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
