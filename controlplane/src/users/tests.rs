//! Users change at once in memory and survive in the file.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

fn config(folder: &TempDir) -> Config {
    Config { database: folder.path().join("sub/users.db"), ..Config::default() }
}

fn open(config: &Config) -> Users {
    Users::open(config, Addresses::new(config)).unwrap()
}

fn user(name: &str) -> User {
    User {
        name: name.to_owned(),
        nt_hash: NtHash::of_password("secret"),
        profile: None,
        remote_address: None,
        disabled: false,
        comment: String::new(),
    }
}

#[test]
fn users_survive_in_a_file_for_the_owner_alone() {
    let folder = TempDir::new().unwrap();
    let config = config(&folder);
    let ivan = User {
        profile: Some("default".to_owned()),
        remote_address: Some(Ipv4Addr::new(10, 0, 0, 7)),
        disabled: true,
        comment: "flat 5".to_owned(),
        ..user("иван")
    };
    open(&config).add(ivan.clone()).unwrap();
    let users = open(&config);
    assert_eq!(*users.find("иван".as_bytes()).unwrap(), ivan);
    for entry in std::fs::read_dir(folder.path().join("sub")).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let file = std::fs::read(&config.database).unwrap();
    let holds = |needle: &[u8]| file.windows(needle.len()).any(|window| window == needle);
    assert!(!holds(b"secret"), "no clear password on the disk");
}

#[test]
fn changes_are_seen_by_the_next_login() {
    let folder = TempDir::new().unwrap();
    let users = open(&config(&folder));
    assert!(users.is_empty());
    users.add(user("ivan")).unwrap();
    assert!(matches!(users.add(user("ivan")), Err(UserError::Exists(_))));
    let change = Change {
        nt_hash: Some(NtHash::of_password("other")),
        remote_address: Some(Some(Ipv4Addr::new(10, 0, 0, 9))),
        ..Change::default()
    };
    users.change("ivan", change).unwrap();
    let ivan = users.find(b"ivan").unwrap();
    assert_eq!(ivan.nt_hash, NtHash::of_password("other"));
    assert_eq!(ivan.remote_address, Some(Ipv4Addr::new(10, 0, 0, 9)));
    users.remove("ivan").unwrap();
    assert!(users.find(b"ivan").is_none());
    assert!(matches!(users.remove("ivan"), Err(UserError::Unknown(_))));
}

#[test]
fn a_domain_in_front_is_ignored_unless_it_is_part_of_the_name() {
    let folder = TempDir::new().unwrap();
    let users = open(&config(&folder));
    users.add(user("ivan")).unwrap();
    users.add(user("OFFICE\\anna")).unwrap();
    let found = |name: &[u8]| users.find(name).map(|user| user.name.clone());
    assert_eq!(found(b"HOME\\ivan").as_deref(), Some("ivan"));
    assert_eq!(found(b"OFFICE\\anna").as_deref(), Some("OFFICE\\anna"));
    assert_eq!(found(b"anna"), None);
    assert_eq!(found(b"\xff\xfe"), None);
}

#[test]
fn what_makes_no_sense_is_refused_with_the_reason() {
    let folder = TempDir::new().unwrap();
    let users = open(&config(&folder));
    let address = Some(Ipv4Addr::new(10, 0, 0, 7));
    users.add(User { remote_address: address, ..user("ivan") }).unwrap();
    let refused = [
        User { profile: Some("gold".to_owned()), ..user("anna") },
        User { remote_address: address, ..user("anna") },
        user(""),
        user("line\nbreak"),
        user(&"x".repeat(256)),
    ]
    .map(|user| format!("{}\n", users.add(user).unwrap_err()))
    .concat();
    insta::assert_snapshot!(refused, @r"
    there is no profile `gold` in the configuration
    address 10.0.0.7 belongs to user `ivan` already
    a user name has 1 to 255 bytes and no control characters
    a user name has 1 to 255 bytes and no control characters
    a user name has 1 to 255 bytes and no control characters
    ");
}

#[test]
fn a_fixed_address_is_kept_from_the_pool() {
    let folder = TempDir::new().unwrap();
    let config = config(&folder);
    let addresses = Addresses::new(&config);
    let users = Users::open(&config, addresses.clone()).unwrap();
    let first = Ipv4Addr::new(10, 99, 0, 2);
    users.add(User { remote_address: Some(first), ..user("ivan") }).unwrap();
    assert_ne!(addresses.from_pool("default", "anna").unwrap().address(), first);
}

#[test]
fn a_database_that_cannot_be_used_is_named() {
    let folder = TempDir::new().unwrap();
    let config = config(&folder);
    drop(open(&config));
    let connection = rusqlite::Connection::open(&config.database).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let opened = |config: &Config| Users::open(config, Addresses::new(config)).unwrap_err();
    assert!(opened(&config).to_string().contains("has schema 99"));

    std::fs::write(&config.database, "no database at all, but longer than its header".repeat(9))
        .unwrap();
    let said = opened(&config).to_string();
    assert!(said.contains("users.db") && said.contains("not a database"), "{said}");
}

#[tokio::test]
async fn the_users_file_is_read_again_when_it_is_replaced() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("users");
    let config = Config { users_file: Some(file.clone()), ..config(&folder) };
    let users = open(&config);
    users.add(user("stored")).unwrap();
    std::fs::write(&file, "ivan * one\nstored * other\nbroken\n").unwrap();
    let watching = tokio::spawn(watch::watch(users.clone(), file.clone()));
    let becomes = async |password: &str| {
        let hash = NtHash::of_password(password);
        while users.find(b"ivan").is_none_or(|user| user.nt_hash != hash) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, becomes("one")).await.unwrap();
    assert_eq!(users.find(b"stored").unwrap().nt_hash, NtHash::of_password("secret"));
    assert!(matches!(users.remove("ivan"), Err(UserError::InFile(..))));

    let new = folder.path().join("users.new");
    std::fs::write(&new, "ivan * two\n").unwrap();
    std::fs::rename(&new, &file).unwrap();
    tokio::time::timeout(patience, becomes("two")).await.unwrap();
    watching.abort();
}
