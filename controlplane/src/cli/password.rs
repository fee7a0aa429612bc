//! Passwords from a person or a pipe.
//!
//! On a terminal: a prompt without echo. Otherwise the first line of standard input or of a file.
//! Wiped when dropped.

use std::fs;
use std::io::{self, BufRead};
use std::path::Path;

use zeroize::Zeroizing;

use super::{Failure, is_interactive};

/// A password for a user: typed twice by a person, or one line from a pipe.
pub(super) fn new(user: &str) -> Result<Zeroizing<String>, Failure> {
    if !is_interactive() {
        return from_stdin();
    }
    let prompt = |text: String| rpassword::prompt_password(text).map(Zeroizing::new);
    let password = prompt(format!("Password for {user}: "))?;
    if password.is_empty() {
        return Err(Failure::Usage("the password is empty".to_owned()));
    }
    if prompt("The same again: ".to_owned())? == password {
        Ok(password)
    } else {
        Err(Failure::Usage("the passwords differ: nothing was changed".to_owned()))
    }
}

/// A password to call somebody with.
pub(super) fn for_call(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    match file {
        Some(file) => {
            let text = fs::read_to_string(file).map(Zeroizing::new).map_err(|error| {
                Failure::Usage(format!("password file {}: {error}", file.display()))
            })?;
            first_line(&text)
        }
        None if is_interactive() => Ok(Zeroizing::new(rpassword::prompt_password("Password: ")?)),
        None => from_stdin(),
    }
}

fn from_stdin() -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::with_capacity(256));
    io::stdin().lock().read_line(&mut line)?;
    first_line(&line)
}

fn first_line(text: &str) -> Result<Zeroizing<String>, Failure> {
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Zeroizing::new(line.to_owned())),
        None => Err(Failure::Usage("no password was given".to_owned())),
    }
}
