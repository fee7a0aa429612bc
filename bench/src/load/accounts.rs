//! Names and passwords from a file: one login a line, `user password`, or as in pppd's chap-secrets
//! `user server password [addresses]`. Words may stand in quotes; `#` begins a comment.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};

/// Reads all.
///
/// # Errors
/// When the file cannot be read, has no login, or a line that is none: the message says which.
pub fn read(path: &Path) -> Result<Arc<[(String, String)]>> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("reading users from {}", path.display()))?;
    let mut accounts = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{} line {}", path.display(), number + 1);
        match words(line).with_context(place)?.as_slice() {
            [] => {}
            [user, password] | [user, _, password, ..] => {
                accounts.push((user.clone(), password.clone()));
            }
            [_] => bail!("{}: a user without a password", place()),
        }
    }
    ensure!(!accounts.is_empty(), "{} has no users", path.display());
    Ok(accounts.into())
}

fn words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '#' => break,
            '"' | '\'' => rest[1..].split_once(first).context("a quote that does not end")?,
            _ => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<(String, String)>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        read(file.path()).map(|accounts| accounts.to_vec())
    }

    #[test]
    fn both_forms_are_read() {
        let accounts = read_text(
            "# all of them\nivan secret\n\n\"anna m\" * 'pass word' *\nboris\tpptpd\tword # mine\n",
        );
        let expected = [("ivan", "secret"), ("anna m", "pass word"), ("boris", "word")];
        assert_eq!(accounts.unwrap(), expected.map(|(user, word)| (user.into(), word.into())));
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        for (text, expected) in [
            ("ok word\nalone\n", "line 2: a user without a password"),
            ("\"open\n", "line 1"),
            ("# nobody\n", "has no users"),
        ] {
            let error = format!("{:#}", read_text(text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
        let error = read(Path::new("/nowhere/users")).unwrap_err();
        assert_eq!(error.to_string(), "reading users from /nowhere/users");
    }
}
