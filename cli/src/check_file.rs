//! The file `lameduck.toml`, in which a project keeps what it promises: the words
//! of a command line as TOML, so that every option has its name there, too.

use std::any::TypeId;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches};
use toml::{Table, Value};

use crate::args::Args;
use crate::setup::Failure;

/// What the file is called.
const NAME: &str = "lameduck.toml";

/// The option that is a text, or `@` and the path of a file with that.
const BODY: &str = "body";

/// The subcommands that have a table in the file.
const TABLES: [&str; 2] = ["check", "during"];

/// The command line, completed by the file where it names no command.
pub(crate) fn parse() -> Result<Args, Failure> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let words = complete(words)?;
    let matches = Args::command().get_matches_from(words);
    Args::from_arg_matches(&matches).map_err(|error| Failure::Other(error.to_string()))
}

/// Adds what the file says and the command line leaves open.
fn complete(mut words: Vec<OsString>) -> Result<Vec<OsString>, Failure> {
    // What is missing may be in the file; a help is printed all the same.
    let matches = Args::command().ignore_errors(true).get_matches_from(&words);
    let Some((name, given)) = matches
        .subcommand()
        .filter(|(name, _)| TABLES.contains(name))
    else {
        return Ok(words);
    };
    let Some(path) = file(name, given)? else {
        return Ok(words);
    };
    let table = read(&path)?;
    let failed = |text: String| Failure::Other(format!("{}: {text}", path.display()));
    let Some(table) = table.get(name).and_then(Value::as_table) else {
        return Err(failed(format!("there is no table [{name}]")));
    };
    let command = Args::command();
    let Some(command) = command.find_subcommand(name) else {
        return Ok(words);
    };
    let options = options(table, command, given, folder_of(&path)).map_err(failed)?;
    // The first word is the tool itself.
    let place = words.iter().skip(1).position(|word| word == name);
    let place = place.map_or(words.len(), |place| place + 2);
    words.splice(place..place, options.words);
    if !is_given(given, "command") && !options.command.is_empty() {
        words.push("--".into());
        words.extend(options.command);
    }
    Ok(words)
}

/// Returns the folder of a file, of which maybe only the name is given.
pub(crate) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The file to read: the one that is named, or the nearest one where the command
/// line lacks what it needs.
fn file(name: &str, given: &ArgMatches) -> Result<Option<PathBuf>, Failure> {
    if let Ok(Some(path)) = given.try_get_one::<PathBuf>("config") {
        return Ok(Some(path.clone()));
    }
    let needed: &[&[&str]] = match name {
        "during" => &[&["command"], &["address"]],
        // One of these says which server it is, or that none is needed.
        _ => &[&["command", "start", "attach", "list"]],
    };
    let has = |ids: &&[&str]| ids.iter().any(|id| is_given(given, id));
    if needed.iter().all(has) {
        return Ok(None);
    }
    let here = std::env::current_dir();
    let here = here
        .map_err(|error| Failure::Other(format!("the current folder is not known: {error}")))?;
    let mut candidates = here.ancestors().map(|folder| folder.join(NAME));
    Ok(candidates.find(|path| path.is_file()))
}

fn is_given(given: &ArgMatches, id: &str) -> bool {
    // An id that a subcommand does not have is not given either.
    given.try_contains_id(id).unwrap_or(false)
        && given.value_source(id) == Some(ValueSource::CommandLine)
}

fn read(path: &Path) -> Result<Table, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::Other(format!("{}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
    let table: Table = toml::from_str(&text).map_err(|error| failed(&error))?;
    match table.keys().find(|key| !TABLES.contains(&key.as_str())) {
        Some(key) => Err(failed(&format!(
            "unknown table [{key}]; there are [check] and [during]"
        ))),
        None => Ok(table),
    }
}

/// The words that a table stands for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    words: Vec<OsString>,
    command: Vec<OsString>,
}

fn options(
    table: &Table,
    command: &Command,
    given: &ArgMatches,
    folder: &Path,
) -> Result<Options, String> {
    let mut options = Options::default();
    for (key, value) in table {
        if key == "command" {
            options.command = words(key, value)?;
            continue;
        }
        let option = option(command, key).ok_or_else(|| unknown(command, key))?;
        // What is said on the command line wins over the file.
        if is_given(given, option.get_id().as_str()) {
            continue;
        }
        options
            .words
            .extend(option_words(option, key, value, folder)?);
    }
    // The command of the file is one of its folder.
    let is_own = !is_given(given, "command") && !is_given(given, "directory");
    if is_own && !table.contains_key("directory") && option(command, "directory").is_some() {
        options.words.push("--directory".into());
        options.words.push(folder.into());
    }
    Ok(options)
}

fn option<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    let key = key.replace('_', "-");
    command.get_arguments().find(|option| {
        let aliases = option.get_all_aliases().unwrap_or_default();
        let is_alias = aliases.contains(&key.as_str());
        option.get_long() == Some(&key) && key != "config" || is_alias
    })
}

fn unknown(command: &Command, key: &str) -> String {
    let known: Vec<String> = command
        .get_arguments()
        .filter_map(|option| {
            // An alias is the plural of an option that can be said more than once.
            let aliases = option.get_all_aliases().unwrap_or_default();
            let name = aliases.first().copied().or(option.get_long());
            name.map(str::to_owned)
        })
        .filter(|name| !["help", "version", "config", "list"].contains(&&name[..]))
        .collect();
    format!(
        "unknown key `{key}`; there are command, {}",
        known.join(", ")
    )
}

/// One key as the words of a command line.
fn option_words(
    option: &Arg,
    key: &str,
    value: &Value,
    folder: &Path,
) -> Result<Vec<OsString>, String> {
    let name = format!("--{}", option.get_long().unwrap_or(key));
    if !option.get_action().takes_values() {
        return match value {
            Value::Boolean(true) => Ok(vec![name.into()]),
            Value::Boolean(false) => Ok(Vec::new()),
            _ => Err(format!("`{key}` is true or false")),
        };
    }
    let is_path = option.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    let mut all = Vec::new();
    for value in words(key, value)? {
        // In one word: a value may begin with a hyphen.
        let mut word = OsString::from(&name);
        word.push("=");
        match value.to_str().and_then(|value| value.strip_prefix('@')) {
            // The text of such an option can stand in a file.
            Some(path) if key == BODY => {
                word.push("@");
                word.push(folder.join(path));
            }
            _ if is_path && value != "-" => word.push(folder.join(value)),
            _ => word.push(value),
        }
        all.push(word);
    }
    Ok(all)
}

/// A value, or each value of an array.
fn words(key: &str, value: &Value) -> Result<Vec<OsString>, String> {
    let word = |value: &Value| match value {
        Value::String(text) => Ok(OsString::from(text)),
        Value::Integer(number) => Ok(number.to_string().into()),
        Value::Float(number) => Ok(number.to_string().into()),
        Value::Boolean(is_true) => Ok(is_true.to_string().into()),
        _ => Err(format!("`{key}` is a text, a number, or an array of them")),
    };
    match value {
        Value::Array(values) => values.iter().map(word).collect(),
        _ if key == "command" => Err("`command` is an array of words".to_owned()),
        value => Ok(vec![word(value)?]),
    }
}
