//! Clients survive in a file for the owner alone, with all that they were told.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::config::{Authentication, Secret};

fn client(name: &str) -> Client {
    let mut client = Client::new(name.to_owned(), "192.0.2.1".to_owned(), "иван".to_owned());
    client.password = Some(Secret::new(Zeroizing::new("пароль \"x\"".to_owned())));
    client
}

fn config(folder: &TempDir) -> Config {
    Config { database: folder.path().join("sub/penstock.db"), ..Config::default() }
}

#[test]
fn clients_survive_in_a_file_for_the_owner_alone() {
    let folder = TempDir::new().unwrap();
    let file = file(&config(&folder));
    let mut store = Store::<Client>::open(&file).unwrap();
    let mut other = client("b");
    other.allow = vec![Authentication::Mschap2, Authentication::Pap];
    other.routes = vec!["10.150.2.0/24 10.0.103.1 2".parse().unwrap()];
    other.default_route_distance = Some(7);
    other.disabled = true;
    store.put(&other).unwrap();
    store.put(&client("a")).unwrap();
    assert_eq!(Store::<Client>::open(&file).unwrap().all().unwrap(), [client("a"), other]);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    store.remove("b").unwrap();
    assert_eq!(store.all().unwrap(), [client("a")]);
}

#[test]
fn a_declared_client_counts_before_a_stored_one_of_its_name() {
    let folder = TempDir::new().unwrap();
    let mut config = config(&folder);
    Store::<Client>::open(&file(&config)).unwrap().put(&client("pptp-out1")).unwrap();
    let mut declared = client("pptp-out1");
    declared.comment = "declared".to_owned();
    config.client = vec![declared];
    let clients = Clients::open(&config).unwrap();
    let known = lock(&clients.known);
    assert_eq!(known["pptp-out1"].settings.comment, "declared");
    assert_eq!(known["pptp-out1"].source, Source::File);
    assert_eq!(Clients::free_name(&known), "pptp-out2");
    drop(known);
    assert!(matches!(clients.remove("pptp-out1"), Err(ClientError::Declared(_))));
    assert!(matches!(clients.remove("pptp-out7"), Err(ClientError::Unknown(_))));
}

#[test]
fn a_database_that_cannot_be_used_is_named() {
    let folder = TempDir::new().unwrap();
    let file = file(&config(&folder));
    drop(Store::<Client>::open(&file).unwrap());
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute("INSERT INTO client VALUES ('x', '{}')", ()).unwrap();
    let said = Store::<Client>::open(&file).unwrap().all().unwrap_err().to_string();
    assert!(said.contains("clients.db: missing field `name`"), "{said}");
    connection.pragma_update(None, "user_version", 99).unwrap();
    let said = Store::<Client>::open(&file).unwrap_err().to_string();
    assert!(said.contains("has schema 99"), "{said}");
}
