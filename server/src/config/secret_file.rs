//! Secrets: the file says in which file or environment variable they are, and never holds them itself.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Secret;
use super::document::{KEY_FILE_LEN_MAX, read_bounded};
use super::section::{Located, Section};

/// How secrets of the environment are found: `std::env::var` outside tests.
pub(super) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The most entries of a table of secrets.
const SECRETS_MAX: usize = 64;
/// The longest name of one, in bytes.
const NAME_LEN_MAX: usize = 128;

/// What a secret looks like.
struct SecretForm {
    allowed: &'static str,
    is_valid: fn(&str) -> bool,
}

/// Bearer tokens travel in a header; short ones are guessed.
const BEARER_TOKEN: SecretForm = SecretForm {
    allowed: "one line of 16 to 4096 visible ASCII characters",
    is_valid: |text| {
        (16..=4096).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    },
};

const PASSWORD: SecretForm = SecretForm {
    allowed: "one line of 1 to 256 bytes",
    is_valid: |text| (1..=256).contains(&text.len()) && !text.chars().any(char::is_control),
};

/// A secret of ours: `KEY_file = "path"`, or `KEY = "env:NAME"`.
pub(super) fn secret(
    section: &mut Section<'_>,
    keys: (&'static str, &'static str),
    environment: Environment<'_>,
) -> Option<Secret> {
    read(section, keys, environment, &BEARER_TOKEN)
}

/// A password that somebody else chose, as [`secret`].
pub(super) fn password(
    section: &mut Section<'_>,
    keys: (&'static str, &'static str),
    environment: Environment<'_>,
) -> Option<Secret> {
    read(section, keys, environment, &PASSWORD)
}

/// Does the file name this secret, with whatever is wrong about it?
pub(super) fn is_named(section: &Section<'_>, (key, file_key): (&str, &str)) -> bool {
    section.has(key) || section.has(file_key)
}

/// A table of secrets by name, each `NAME = "file:PATH"` or `NAME = "env:NAME"`.
pub(super) fn named_secrets(
    section: &mut Section<'_>,
    key: &'static str,
    environment: Environment<'_>,
) -> BTreeMap<String, Secret> {
    let entries = section.named_secret_texts(key, SECRETS_MAX);
    let mut secrets = BTreeMap::new();
    for (name, located) in entries {
        if !(1..=NAME_LEN_MAX).contains(&name.len()) {
            section.wrong(
                &located,
                format!("has no usable name; allowed: 1 to {NAME_LEN_MAX} bytes"),
            );
            continue;
        }
        let secret = match located.value.split_once(':') {
            Some(("env", variable)) => {
                of_environment(section, &located, variable, environment, &BEARER_TOKEN)
            }
            Some(("file", path)) => {
                let path = section.document().resolve(path);
                of_file(section, key, &located, &path, &BEARER_TOKEN)
            }
            _ => {
                let message = "a secret is never written here; allowed: \"file:PATH\", or \"env:NAME\" for the \
                               environment variable NAME";
                section.wrong(&located, message);
                None
            }
        };
        secrets.extend(secret.map(|secret| (name, secret)));
    }
    secrets
}

/// Warns of a key file that is no secret on this machine.
pub(super) fn warn_if_readable_by_all(section: &Section<'_>, key: &'static str, path: &Path) {
    let others_read = 0o004;
    let readable =
        std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & others_read != 0);
    if readable {
        section.warn(
            key,
            format!("every user of this machine can read {}", path.display()),
        );
    }
}

fn read(
    section: &mut Section<'_>,
    (key, file_key): (&'static str, &'static str),
    environment: Environment<'_>,
    form: &SecretForm,
) -> Option<Secret> {
    let from_file = section.text(file_key);
    let from_environment = section.secret_text(key);
    if let (Some(_), Some(second)) = (&from_file, &from_environment) {
        section.wrong(
            second,
            format!("is given twice; allowed: one of {key} and {file_key}"),
        );
        return None;
    }
    if let Some(located) = from_environment {
        let Some(variable) = located.value.strip_prefix("env:") else {
            let message = format!(
                "a secret is never written here; allowed: {file_key} = \"PATH\", or {key} = \"env:NAME\" for the \
                 environment variable NAME"
            );
            section.wrong(&located, message);
            return None;
        };
        return of_environment(section, &located, variable, environment, form);
    }
    let located = from_file?;
    let path: PathBuf = section.document().resolve(&located.value);
    of_file(section, file_key, &located, &path, form)
}

fn of_environment(
    section: &Section<'_>,
    located: &Located<String>,
    variable: &str,
    environment: Environment<'_>,
    form: &SecretForm,
) -> Option<Secret> {
    let problem = match environment(variable) {
        Some(text) if (form.is_valid)(&text) => return Some(Secret::new(&text)),
        Some(_) => format!(
            "the environment variable {variable} holds no secret; allowed: {}",
            form.allowed
        ),
        None => format!("the environment variable {variable} is not set"),
    };
    section.wrong(located, problem);
    None
}

fn of_file(
    section: &Section<'_>,
    key: &'static str,
    located: &Located<String>,
    path: &Path,
    form: &SecretForm,
) -> Option<Secret> {
    warn_if_readable_by_all(section, key, path);
    let text = match read_bounded(path, KEY_FILE_LEN_MAX) {
        Ok(bytes) => String::from_utf8(bytes).unwrap_or_default(),
        Err(error) => {
            section.wrong(located, format!("{}: {error}", path.display()));
            return None;
        }
    };
    let text = text.trim_end_matches(['\n', '\r']);
    if !(form.is_valid)(text) {
        section.wrong(
            located,
            format!(
                "{} holds no secret; allowed: {}",
                path.display(),
                form.allowed
            ),
        );
        return None;
    }
    Some(Secret::new(text))
}
