//! Users change at once in memory and survive in the file.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use protocol::mschap::NtHash;
use protocol::ppp::auth::Credential;
use tempfile::TempDir;

use super::secret::{Clear, Service};
use super::*;
use crate::config::Span;
use crate::terms::RemoteAddress;
use crate::users::wire::HexHash;

fn config(folder: &TempDir) -> Config {
    Config { database: folder.path().join("sub/users.db"), ..Config::default() }
}

fn open(config: &Config) -> Users {
    Users::open(config, Addresses::new(config)).unwrap()
}

fn hash(password: &str) -> HexHash {
    HexHash(NtHash::of_password(password))
}

fn user(name: &str) -> User {
    User::new(name, Credential::of_hash(NtHash::of_password("secret")))
}

fn own(address: Ipv4Addr) -> Option<RemoteAddress> {
    Some(RemoteAddress::Address(address))
}

#[test]
fn users_survive_in_a_file_for_the_owner_alone() {
    let folder = TempDir::new().unwrap();
    let config = config(&folder);
    let ivan = User {
        service: Service::Pptp,
        caller_id: vec!["192.0.2.0/24".parse().unwrap(), "10.1.2.3".parse().unwrap()],
        profile: Some("default".to_owned()),
        local_address: Some(Ipv4Addr::new(10, 0, 0, 1)),
        remote_address: own(Ipv4Addr::new(10, 0, 0, 7)),
        routes: vec!["10.150.1.0/24 10.0.0.7 1".parse().unwrap()],
        rate_limit: Some("2M/10M 4M/20M 1M/5M 8/8".parse().unwrap()),
        session_timeout: Some(Span::seconds(3600)),
        idle_timeout: Some(Span::seconds(0)),
        limit_bytes_in: Some(1 << 40),
        limit_bytes_out: Some(7),
        remote_access: false,
        disabled: true,
        comment: "flat 5".to_owned(),
        ..user("иван")
    };
    let anna = User { credential: Credential::of_password("clear"), ..user("anna") };
    open(&config).add(anna.clone()).unwrap();
    open(&config).add(ivan.clone()).unwrap();
    let users = open(&config);
    assert_eq!(*users.find("иван".as_bytes()).unwrap(), ivan);
    assert_eq!(*users.find(b"anna").unwrap(), anna);
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
        nt_hash: Some(hash("other")),
        remote_address: Some(own(Ipv4Addr::new(10, 0, 0, 9))),
        ..Change::default()
    };
    users.change("ivan", change).unwrap();
    let ivan = users.find(b"ivan").unwrap();
    assert_eq!(*ivan.credential.nt_hash(), NtHash::of_password("other"));
    assert_eq!(ivan.own_address(), Some(Ipv4Addr::new(10, 0, 0, 9)));
    users.remove("ivan").unwrap();
    assert!(users.find(b"ivan").is_none());
    assert!(matches!(users.remove("ivan"), Err(UserError::Unknown(_))));
}

#[test]
fn what_a_change_does_not_name_stays_and_a_name_can_change() {
    let folder = TempDir::new().unwrap();
    let users = open(&config(&folder));
    users.add(User { comment: "flat 5".to_owned(), ..user("ivan") }).unwrap();
    users.add(user("anna")).unwrap();
    let renamed = |name: &str| Change { name: Some(name.to_owned()), ..Change::default() };
    assert!(matches!(users.change("ivan", renamed("anna")), Err(UserError::Exists(_))));
    let petr = users.change("ivan", renamed("petr")).unwrap();
    assert_eq!(petr.comment, "flat 5");
    assert!(users.find(b"ivan").is_none());
    assert_eq!(open(&config(&folder)).list().len(), 2);
}

#[test]
fn the_clear_password_is_kept_for_those_who_need_it_and_never_a_wrong_one() {
    let folder = TempDir::new().unwrap();
    let users = open(&config(&folder));
    users.add(user("ivan")).unwrap();
    let with = |nt_hash, password| Change { nt_hash, password, ..Change::default() };
    let clear = |password| Some(Some(Clear::new(password)));
    let has = |users: &Users| users.find(b"ivan").unwrap().credential.clear().is_some();
    let wrong = users.change("ivan", with(Some(hash("one")), clear("other")));
    assert!(matches!(wrong, Err(UserError::Clear(_))));
    users.change("ivan", with(Some(hash("one")), clear("one"))).unwrap();
    assert!(has(&users));
    // A new hash alone would leave the old password for CHAP-MD5.
    assert!(matches!(
        users.change("ivan", with(Some(hash("two")), None)),
        Err(UserError::Clear(_))
    ));
    users.change("ivan", with(Some(hash("two")), Some(None))).unwrap();
    assert!(!has(&users));
}

#[test]
fn an_empty_password_is_refused_and_one_that_is_there_does_not_hinder_other_changes() {
    let folder = TempDir::new().unwrap();
    let config = config(&folder);
    let users = open(&config);
    let empty = User { credential: Credential::of_hash(NtHash::of_password("")), ..user("ivan") };
    assert!(matches!(users.add(empty), Err(UserError::EmptyPassword(_))));
    users.add(user("ivan")).unwrap();
    let no_password = Change { nt_hash: Some(hash("")), ..Change::default() };
    assert!(matches!(users.change("ivan", no_password), Err(UserError::EmptyPassword(_))));
    // An older version took it.
    drop(users);
    let connection = rusqlite::Connection::open(&config.database).unwrap();
    let hash = *NtHash::of_password("").as_bytes();
    assert_eq!(connection.execute("UPDATE user SET nt_hash = ?1", [hash]).unwrap(), 1);
    let users = open(&config);
    let ivan = users.change("ivan", Change { disabled: Some(true), ..Change::default() }).unwrap();
    assert!(ivan.credential.is_empty() && ivan.disabled);
}

#[test]
fn names_are_found_in_the_code_pages_of_old_windows() {
    let folder = TempDir::new().unwrap();
    let users = open(&config(&folder));
    users.add(user("иван")).unwrap();
    for name in [&b"\xe8\xe2\xe0\xed"[..], b"HOME\\\xe8\xe2\xe0\xed", b"\xa8\xa2\xa0\xad"] {
        assert_eq!(users.find(name).unwrap().name, "иван");
    }
    assert!(users.find(b"\xe8\xe2\xe0").is_none());
}

#[test]
fn an_import_is_all_or_nothing() {
    let folder = TempDir::new().unwrap();
    let users = open(&config(&folder));
    users.add(user("ivan")).unwrap();
    let new = || vec![user("anna"), User { comment: "new".to_owned(), ..user("ivan") }];
    let refused = users.import(new(), OnConflict::Refuse);
    assert!(matches!(refused, Err(UserError::Exists(_))));
    let same = own(Ipv4Addr::new(10, 0, 0, 7));
    let twice = ["petr", "pavel"].map(|name| User { remote_address: same.clone(), ..user(name) });
    assert!(matches!(users.import(twice.into(), OnConflict::Refuse), Err(UserError::Address(..))));
    assert_eq!(users.list().len(), 1);
    let skipped = users.import(new(), OnConflict::Skip).unwrap();
    assert_eq!(skipped, Imported { added: 1, replaced: 0, skipped: 1 });
    assert_eq!(users.find(b"ivan").unwrap().comment, "");
    let replaced = users.import(new(), OnConflict::Replace).unwrap();
    assert_eq!(replaced, Imported { added: 0, replaced: 2, skipped: 0 });
    assert_eq!(users.find(b"ivan").unwrap().comment, "new");
}

#[test]
fn a_database_of_the_first_version_is_brought_up_to_date() {
    let folder = TempDir::new().unwrap();
    let config = Config { database: folder.path().join("users.db"), ..Config::default() };
    let connection = rusqlite::Connection::open(&config.database).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE user (
                 name           TEXT PRIMARY KEY,
                 nt_hash        BLOB NOT NULL CHECK (length(nt_hash) = 16),
                 profile        TEXT,
                 remote_address TEXT,
                 disabled       INTEGER NOT NULL,
                 comment        TEXT NOT NULL
             ) STRICT, WITHOUT ROWID;
             INSERT INTO user VALUES
                 ('ivan', x'00112233445566778899aabbccddeeff', 'default', '10.0.0.7', 1, 'flat 5');
             PRAGMA user_version = 1;",
        )
        .unwrap();
    drop(connection);
    let users = open(&config);
    let hash = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128.to_be_bytes();
    let ivan = User {
        profile: Some("default".to_owned()),
        remote_address: own(Ipv4Addr::new(10, 0, 0, 7)),
        disabled: true,
        comment: "flat 5".to_owned(),
        ..User::new("ivan", Credential::of_hash(NtHash::from_bytes(hash)))
    };
    assert_eq!(*users.find(b"ivan").unwrap(), ivan);
    users.add(user("anna")).unwrap();
    drop(users);
    assert_eq!(open(&config).list().len(), 2, "and stays so");
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
    let address = own(Ipv4Addr::new(10, 0, 0, 7));
    users.add(User { remote_address: address.clone(), ..user("ivan") }).unwrap();
    let route = |text: &str| vec![text.parse().unwrap()];
    let ours = Ipv4Addr::new(10, 99, 0, 1);
    let in_pool = Ipv4Addr::new(10, 99, 0, 9);
    let refused = [
        User { profile: Some("gold".to_owned()), ..user("anna") },
        User { remote_address: address, ..user("anna") },
        User { remote_address: own(ours), ..user("anna") },
        User { remote_address: own(Ipv4Addr::BROADCAST), ..user("anna") },
        User { remote_address: Some("nonsense".to_owned().into()), ..user("anna") },
        User { local_address: Some(in_pool), ..user("anna") },
        User { routes: route("0.0.0.0/0"), ..user("anna") },
        User { routes: route("10.99.4.0/24"), ..user("anna") },
        User { routes: route("10.96.0.0/12"), ..user("anna") },
        User { routes: route("127.0.0.0/8"), ..user("anna") },
        User { comment: "\u{1b}[2J".to_owned(), ..user("anna") },
        user(""),
        user("line\nbreak"),
        user(&"x".repeat(256)),
    ]
    .map(|user| format!("{}\n", users.add(user).unwrap_err()))
    .concat();
    insta::assert_snapshot!(refused, @r"
    there is no profile `gold` in the configuration
    address 10.0.0.7 belongs to user `ivan` already
    address 10.99.0.1 is this server's end of tunnels: no subscriber can have it
    no host can have the address 255.255.255.255
    `nonsense` is neither an IPv4 address nor a [[pool]] of the configuration
    local-address 10.99.0.9 lies in pool `default`: give the address to a profile, which takes it out of the pool, or choose another
    route `0.0.0.0/0`: a default route would send everybody's packets there
    route `10.99.4.0/24`: it overlaps pool `default`
    route `10.96.0.0/12`: it holds 10.99.0.1, which is this server's
    route `127.0.0.0/8`: no host can have an address of that network
    a comment has at most 1024 bytes and no control characters
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
    users.add(User { remote_address: own(first), ..user("ivan") }).unwrap();
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

#[test]
fn a_users_file_that_is_being_written_anew_removes_nobody() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("users");
    let users = open(&config(&folder));
    std::fs::write(&file, "ivan * one\nanna * two\n").unwrap();
    assert_eq!(users.read_file(&file).unwrap().0, 2);
    for unfinished in ["", "iva", "ivan *"] {
        std::fs::write(&file, unfinished).unwrap();
        assert!(users.read_file(&file).is_err(), "{unfinished}");
        assert!(users.find(b"ivan").is_some(), "{unfinished}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(users.read_file(&file).is_err());
    assert!(users.find(b"anna").is_some());
    std::fs::write(&file, "anna * two\n").unwrap();
    users.read_file(&file).unwrap();
    assert!(users.find(b"ivan").is_none() && users.find(b"anna").is_some());
    std::fs::write(&file, "# nobody\n").unwrap();
    users.read_file(&file).unwrap();
    assert!(users.find(b"anna").is_none());
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
        while users.find(b"ivan").is_none_or(|user| *user.credential.nt_hash() != hash) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let patience = Duration::from_secs(20);
    tokio::time::timeout(patience, becomes("one")).await.unwrap();
    let stored = users.find(b"stored").unwrap();
    assert_eq!(*stored.credential.nt_hash(), NtHash::of_password("secret"));
    assert!(matches!(users.remove("ivan"), Err(UserError::InFile(..))));
    // The database counts before the file: nobody's password changes by a name that is given twice.
    assert!(matches!(users.add(user("ivan")), Err(UserError::InFile(..))));
    assert_eq!(users.import(vec![user("ivan")], OnConflict::Skip).unwrap().skipped, 1);
    let ivan = users.find(b"ivan").unwrap();
    assert_eq!(*ivan.credential.nt_hash(), NtHash::of_password("one"));

    let new = folder.path().join("users.new");
    std::fs::write(&new, "ivan * two\n").unwrap();
    std::fs::rename(&new, &file).unwrap();
    tokio::time::timeout(patience, becomes("two")).await.unwrap();
    watching.abort();
}

/// RFC 4862 §5.5.3: hosts make addresses of prefixes of 64 bits alone.
#[test]
fn ipv6_that_no_subscriber_can_use_is_refused() {
    let folder = TempDir::new().unwrap();
    let users = open(&config(&folder));
    let prefix = |text: &str| Some(text.parse().unwrap());
    let links = ["2001:db8::/56", "2001:db8::1/128", "fe80::/64", "ff05::/64"];
    let links =
        links.map(|text| User { remote_ipv6_prefix: prefix(text), ..user("link") }).into_iter();
    let delegated = ["2001:db8::/65", "fe80::/10"];
    let delegated =
        delegated.map(|text| User { delegated_ipv6_prefix: prefix(text), ..user("router") });
    let routes = ["::/0", "ff00::/8"];
    let routes =
        routes.map(|text| User { ipv6_routes: vec![text.parse().unwrap()], ..user("routes") });
    for wrong in links.chain(delegated).chain(routes) {
        assert!(matches!(users.add(wrong.clone()), Err(UserError::Route(_))), "{wrong:?}");
    }
    let right = User {
        remote_ipv6_prefix: prefix("2001:db8:0:1::/64"),
        delegated_ipv6_prefix: prefix("2001:db8:1::/48"),
        ipv6_routes: vec!["2001:db8:2::/48".parse().unwrap()],
        ..user("right")
    };
    users.add(right).unwrap();
}
