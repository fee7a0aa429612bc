//! What FreeRADIUS's `detail` module writes of a packet: one record for each, all attributes.
//! Never drops an attribute: what stands in the file can be asked for.

use std::path::Path;

use anyhow::{Context, Result};

/// A packet that FreeRADIUS accepted, as its attributes in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record(Vec<(String, String)>);

impl Record {
    /// The first value of an attribute, as FreeRADIUS prints it, without quotes.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of an attribute.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The value of an attribute that has to be there.
    ///
    /// # Errors
    /// When it is not; the message has all of the record.
    pub fn text(&self, name: &str) -> Result<&str> {
        self.get(name).with_context(|| format!("no {name} in {self:#?}"))
    }

    /// The number that an attribute is; one that is absent is 0, as with gigawords.
    ///
    /// # Errors
    /// When it is no number.
    pub fn number(&self, name: &str) -> Result<u64> {
        let value = self.get(name).unwrap_or("0");
        value.parse().with_context(|| format!("{name} = {value} in {self:#?}"))
    }

    /// `Acct-Status-Type`, or nothing.
    pub fn status(&self) -> &str {
        self.get("Acct-Status-Type").unwrap_or_default()
    }

    /// Octets in one direction, by attribute name without `Acct-` and `-Octets`, with gigawords
    /// (RFC 2869 §5.1, §5.2).
    ///
    /// # Errors
    /// When they are no numbers.
    pub fn octets(&self, direction: &str) -> Result<u64> {
        Ok((self.number(&format!("Acct-{direction}-Gigawords"))? << 32)
            + self.number(&format!("Acct-{direction}-Octets"))?)
    }
}

/// All records of a file, oldest first; none if there is no file yet.
pub(super) fn read(path: &Path) -> Result<Vec<Record>> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
    };
    // A record ends with an empty line: one that is being written is left for the next look.
    let Some((whole, _)) = text.rsplit_once("\n\n") else { return Ok(Vec::new()) };
    Ok(whole.split("\n\n").map(record).collect())
}

fn record(text: &str) -> Record {
    // The first line is the time of writing.
    let lines = text.lines().filter_map(|line| line.strip_prefix('\t'));
    Record(
        lines
            .filter_map(|line| line.split_once(" = "))
            .map(|(name, value)| (name.to_owned(), unquoted(value)))
            .collect(),
    )
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut text = String::with_capacity(inner.len());
    let mut escaped = false;
    for letter in inner.chars() {
        if letter == '\\' && !escaped {
            escaped = true;
        } else {
            escaped = false;
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "Sat Nov 21 02:41:24 2026\n\tUser-Name = \"al\\\"ice\"\n\
        \tAcct-Status-Type = Stop\n\tClass = 0x01\n\tClass = 0x02\n\
        \tAcct-Input-Octets = 5\n\tAcct-Input-Gigawords = 2\n\tTimestamp = 17\n\n\
        Sat Nov 21 02:41:25 2026\n\tUser-Name = \"half";

    #[test]
    fn whole_records_are_read_and_one_in_writing_is_left() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), FILE).unwrap();
        let records = read(file.path()).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].get("User-Name"), Some("al\"ice"));
        assert_eq!(records[0].all("Class").collect::<Vec<_>>(), ["0x01", "0x02"]);
        assert_eq!(records[0].octets("Input").unwrap(), (2 << 32) + 5);
        assert_eq!(records[0].status(), "Stop");
        assert!(read(Path::new("/nowhere/at/all")).unwrap().is_empty());
    }
}
