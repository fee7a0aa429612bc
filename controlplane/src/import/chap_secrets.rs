//! pppd's `chap-secrets`: its users, one a line.
//!
//! The form is the users-file's own ([`crate::users::file`]); what only pppd can mean is named.

use serde_json::json;
use zeroize::Zeroizing;

use super::{Imported, NewSecret, unmarked};
use crate::users::file;

/// Reads a file.
#[must_use]
pub fn import(bytes: &[u8]) -> Imported {
    let (users, bad) = file::parse(unmarked(bytes));
    let mut imported = Imported::default();
    for line in bad {
        imported.report.left(line.line, "user".to_owned(), line.reason);
    }
    for (line, user) in users {
        let subject = format!("user `{}`", user.name);
        let Some(password) = user.credential.clear() else { continue };
        let Ok(password) = String::from_utf8(password.as_bytes().to_vec()).map(Zeroizing::new)
        else {
            continue;
        };
        if imported.draft.has_user(&user.name) {
            imported.report.left(line, subject, "an earlier line has the name, and counts");
            continue;
        }
        let address = user.remote_address.map(|address| address.to_string());
        let more = address.map(|address| ("remote-address", json!(address))).into_iter().collect();
        imported.draft.add_user(NewSecret { name: user.name, password, more });
        imported.report.taken(line, subject, "user".to_owned(), Vec::new());
    }
    imported.report.lines.sort_by_key(|line| line.number);
    if !imported.report.lines.is_empty() {
        imported.report.remark(
            "the second column, pppd's own name, is not looked at: every user may log in here",
        );
    }
    imported
}
