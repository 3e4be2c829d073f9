//! Reading a configuration: one TOML file, overridden by environment variables, checked as a whole.
//!
//! A person who starts a program with a wrong file wants to hear of every mistake at once, with the
//! file, the key and the remedy. So faults are collected: a value of the wrong type is noted, set
//! aside and the rest is read on; unknown keys are all listed; then the program's own checks run.

pub mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// A configuration struct: plain data with defaults for every key.
pub trait Settings: Serialize + DeserializeOwned + Default {
    /// Prefix of the environment variables that override keys, such as `HIEROPHANT`. The variable of
    /// key `a.b` is `PREFIX_A__B`.
    const ENV_PREFIX: &'static str;

    /// Variables with that prefix that set no key, because they are for something else.
    const OTHER_VARIABLES: &'static [&'static str] = &[];

    /// Checks what types cannot: ranges, combinations, paths.
    fn validate(&self, faults: &mut Faults);
}

/// Mistakes found by [`Settings::validate`].
#[derive(Debug, Default)]
pub struct Faults(Vec<(String, String)>);

impl Faults {
    /// Notes a mistake: the dotted key, and what is wrong with the remedy.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push((key.into(), message.into()));
    }
}

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// File name or environment variable that holds it.
    pub origin: String,
    /// Dotted key, empty if the mistake concerns the file as a whole.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.origin, self.message)
        } else {
            write!(f, "{}: key `{}`: {}", self.origin, self.key, self.message)
        }
    }
}

/// Every mistake found in a configuration; prints one line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub faults: Vec<Fault>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.faults.len() == 1 { "" } else { "s" };
        write!(f, "{} fault{plural} in the configuration", self.faults.len())?;
        for fault in &self.faults {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    fn whole(origin: &str, message: String) -> Self {
        Self { faults: vec![Fault { origin: origin.to_owned(), key: String::new(), message }] }
    }
}

/// Reads `file` (or only the defaults, if there is none), applies the environment's overrides and
/// checks the result.
///
/// # Errors
///
/// All faults at once: unreadable file, bad syntax, unknown keys, values of the wrong type, and what
/// [`Settings::validate`] finds.
pub fn load<T: Settings>(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let Some(path) = file else { return parse("", "built-in defaults", environment) };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!(
            "cannot be read ({error}); create it with `init` or name another with --config"
        );
        ConfigError::whole(&name, message)
    })?;
    parse(&text, &name, environment)
}

/// The same from a file's text; `origin` is what faults call the file.
///
/// # Errors
///
/// As [`load`], whatever the text is.
pub fn parse<T: Settings>(
    text: &str,
    origin: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<T, ConfigError> {
    let mut table: Table = text.parse().map_err(|error: toml::de::Error| {
        ConfigError::whole(origin, format!("is not valid TOML: {}", error.to_string().trim()))
    })?;
    let environment = environment.into_iter();
    let environment =
        environment.filter(|(variable, _)| !T::OTHER_VARIABLES.contains(&variable.as_str()));
    let overrides = environment_overrides(T::ENV_PREFIX, environment);
    for (key, (_, text)) in &overrides {
        insert(&mut table, key, environment_value(text));
    }
    let origin_of = |key: &str| {
        overrides
            .iter()
            .find(|(k, _)| key == k.as_str() || key.starts_with(&format!("{k}.")))
            .map_or_else(|| origin.to_owned(), |(_, (variable, _))| format!("variable {variable}"))
    };

    let mut faults = Vec::new();
    let mut first_messages = BTreeMap::new();
    let (settings, unknown) = loop {
        let mut unknown = Vec::new();
        match deserialize::<T>(&table, &mut unknown) {
            Ok(settings) => break (settings, unknown),
            Err((key, message)) => {
                let as_text = overrides.get(&key).map(|(_, text)| Value::String(text.clone()));
                if let Some(text) = as_text
                    && get(&table, &key).is_some_and(|value| *value != text)
                {
                    // A variable's text that looks like a number may be meant as a string.
                    insert(&mut table, &key, text);
                    first_messages.insert(key, message);
                    continue;
                }
                let message = first_messages.remove(&key).unwrap_or(message);
                faults.push(Fault { origin: origin_of(&key), key: key.clone(), message });
                if !remove(&mut table, &key) {
                    return Err(ConfigError { faults });
                }
            }
        }
    };
    let defaults = Table::try_from(T::default()).unwrap_or_default();
    for key in unknown {
        let message = unknown_key_message(&defaults, &key);
        faults.push(Fault { origin: origin_of(&key), key, message });
    }
    let mut own = Faults::default();
    settings.validate(&mut own);
    for (key, message) in own.0 {
        // A key that was set aside above has been reported already.
        if !faults.iter().any(|fault| fault.key == key) {
            faults.push(Fault { origin: origin_of(&key), key, message });
        }
    }
    if faults.is_empty() { Ok(settings) } else { Err(ConfigError { faults }) }
}

/// Writes a commented configuration file for `init`, readable by its user alone.
///
/// # Errors
///
/// When the file exists already (it is never overwritten) or cannot be written.
pub fn write_template(path: &Path, template: &str) -> std::io::Result<()> {
    use std::io::{Error, ErrorKind, Write};
    use std::os::unix::fs::OpenOptionsExt;
    // It will hold secrets.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::new(
            ErrorKind::AlreadyExists,
            "it exists already; remove it, or name another file with --config",
        ),
        _ => error,
    })?;
    file.write_all(template.as_bytes())
}

/// The file to read: the one that was asked for, else `default_name` in the working folder if it is
/// there.
#[must_use]
pub fn choose_file(asked_for: Option<PathBuf>, default_name: &str) -> Option<PathBuf> {
    asked_for.or_else(|| {
        let default = PathBuf::from(default_name);
        default.exists().then_some(default)
    })
}

/// Dotted key -> (variable, text).
fn environment_overrides(
    prefix: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, (String, String)> {
    let prefix = format!("{prefix}_");
    environment
        .into_iter()
        .filter_map(|(variable, text)| {
            let key = variable.strip_prefix(&prefix)?.to_lowercase().replace("__", ".");
            Some((key, (variable, text)))
        })
        .collect()
}

fn environment_value(text: &str) -> Value {
    format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn deserialize<T: DeserializeOwned>(
    table: &Table,
    unknown: &mut Vec<String>,
) -> Result<T, (String, String)> {
    let mut note = |path: serde_ignored::Path<'_>| unknown.push(path.to_string().replace(".?", ""));
    let mut track = serde_path_to_error::Track::new();
    let value = Value::Table(table.clone());
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    serde_ignored::deserialize(tracked, &mut note).map_err(|error: toml::de::Error| {
        let message = error.message().trim().to_owned();
        let key = track.path().to_string();
        (if key == "." { String::new() } else { key.replace(".?", "") }, message)
    })
}

fn unknown_key_message(defaults: &Table, key: &str) -> String {
    let (parent, name) = key.rsplit_once('.').unwrap_or(("", key));
    let siblings = if parent.is_empty() {
        Some(defaults)
    } else {
        get(defaults, parent).and_then(Value::as_table)
    };
    let closest = siblings
        .into_iter()
        .flat_map(|table| table.keys())
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match closest {
        Some((_, known)) => format!("unknown key; did you mean `{known}`?"),
        None => {
            "unknown key; remove it, or see the file that `init` writes for the known ones".into()
        }
    }
}

fn get<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        None => table.get(key),
        Some((first, rest)) => get(table.get(first)?.as_table()?, rest),
    }
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

fn remove(table: &mut Table, key: &str) -> bool {
    // A fault inside a list takes the whole list with it.
    let key = key.split('[').next().unwrap_or(key).trim_end_matches('.');
    match key.split_once('.') {
        None => table.remove(key).is_some(),
        Some((first, rest)) => match table.get_mut(first) {
            Some(Value::Table(inner)) => remove(inner, rest),
            Some(_) => table.remove(first).is_some(),
            None => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(default)]
    struct Sample {
        grpc_port: u16,
        name: String,
        limits: Limits,
    }

    #[derive(Debug, PartialEq, Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Limits {
        workers: u32,
    }

    impl Default for Sample {
        fn default() -> Self {
            Self { grpc_port: 9000, name: "samuel".into(), limits: Limits::default() }
        }
    }

    impl Settings for Sample {
        const ENV_PREFIX: &'static str = "SAMPLE";

        fn validate(&self, faults: &mut Faults) {
            if self.grpc_port == 1 {
                faults.add("grpc_port", "must not be 1; choose a free port");
            }
        }
    }

    fn load_text(text: &str, environment: &[(&str, &str)]) -> Result<Sample, ConfigError> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("sample.toml");
        std::fs::write(&path, text).expect("write");
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        load(Some(&path), environment)
    }

    fn keys(error: &ConfigError) -> Vec<&str> {
        error.faults.iter().map(|fault| fault.key.as_str()).collect()
    }

    #[test]
    fn file_and_environment_are_merged() {
        let sample = load_text(
            "grpc_port = 7\n",
            &[("SAMPLE_LIMITS__WORKERS", "12"), ("SAMPLE_NAME", "42"), ("OTHER_NAME", "x")],
        )
        .expect("loads");
        let expected = Sample { grpc_port: 7, name: "42".into(), limits: Limits { workers: 12 } };
        assert_eq!(sample, expected);
    }

    #[test]
    fn all_faults_are_reported_at_once_with_file_key_and_remedy() {
        let error = load_text(
            "grpc_prt = 7\nname = 3\n[limits]\nworkers = \"many\"\nwhat = 1\n",
            &[("SAMPLE_GRPC_PORT", "1")],
        )
        .expect_err("must fail");
        let mut found = keys(&error);
        found.sort_unstable();
        assert_eq!(found, ["grpc_port", "grpc_prt", "limits.what", "limits.workers", "name"]);
        let text = error.to_string();
        assert!(
            text.contains("sample.toml: key `grpc_prt`: unknown key; did you mean `grpc_port`?"),
            "{text}"
        );
        assert!(
            text.contains("variable SAMPLE_GRPC_PORT: key `grpc_port`: must not be 1"),
            "{text}"
        );
        assert!(text.contains("5 faults"), "{text}");
    }

    #[test]
    fn a_missing_file_and_bad_syntax_name_the_file() {
        let error =
            load::<Sample>(Some(Path::new("/nowhere/sample.toml")), []).expect_err("must fail");
        assert!(error.to_string().contains("/nowhere/sample.toml: cannot be read"), "{error}");
        let error = load_text("grpc_port = = 1", &[]).expect_err("must fail");
        assert!(error.to_string().contains("is not valid TOML"), "{error}");
    }

    #[test]
    fn a_variable_out_of_range_is_told_as_the_number_that_it_is() {
        let error = load_text("", &[("SAMPLE_GRPC_PORT", "70000")]).expect_err("must fail");
        assert!(error.to_string().contains("integer `70000`"), "{error}");
    }

    #[test]
    fn a_template_never_overwrites_a_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("sample.toml");
        write_template(&path, "# one\n").expect("writes");
        let error = write_template(&path, "# two\n").expect_err("must fail");
        assert!(error.to_string().contains("exists already"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "# one\n");
        let mode = std::os::unix::fs::MetadataExt::mode(&path.metadata().expect("is there"));
        assert_eq!(mode & 0o777, 0o600, "it will hold secrets");
    }

    #[test]
    fn a_table_where_a_value_belongs_is_one_fault() {
        let error = load_text("[grpc_port]\nx = 1\n", &[]).expect_err("must fail");
        assert_eq!(keys(&error), ["grpc_port"]);
    }
}
