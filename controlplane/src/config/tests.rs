//! The example is the defaults, and every slip is answered with its line and what was meant.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::terms::RemoteAddress;

/// The example with its commented-out keys switched on.
fn uncommented() -> String {
    let is_key = |text: &str| {
        text.starts_with("[[")
            || text.split_once(" = ").is_some_and(|(key, _)| {
                !key.is_empty()
                    && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            })
    };
    EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_key(rest) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect()
}

#[test]
fn the_example_is_the_defaults() {
    assert_eq!(Config::parse(EXAMPLE).unwrap(), Config::default());
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn what_the_example_comments_out_is_valid_too() {
    let config = Config::parse(&uncommented()).unwrap();
    assert_eq!(config.users_file.as_deref(), Some(Path::new("/etc/penstock/users")));
    assert_eq!(
        config.dataplane.interface,
        [Interface {
            name: "eth0".to_owned(),
            role: Role::Access,
            queues: 0,
            ports: Vec::new(),
            vlan: Vlan::default(),
        }]
    );
}

/// The decoder itself knows all keys of a table: it lists them when it meets an unknown one.
#[test]
fn the_example_shows_every_key_that_is_known() {
    let text = uncommented();
    let tables = [
        "",
        "[server]",
        "[limits]",
        "[dataplane]",
        "[accounting]",
        "[lockout]",
        "[[dataplane.interface]]",
        "[[profile]]",
        "[[pool]]",
        "[[ipv6-pool]]",
        "[[filter]]",
        "[aaa]",
        "[[radius]]",
        "[radius-incoming]",
        "[[radius-incoming.client]]",
        "[[binding]]",
        "[[client]]",
    ];
    for table in tables {
        let broken = if table.is_empty() {
            format!("zzzzzz = 1\n{text}")
        } else {
            text.replacen(&format!("{table}\n"), &format!("{table}\nzzzzzz = 1\n"), 1)
        };
        let error = toml::from_str::<Config>(&broken).unwrap_err();
        let (_, known) = error.message().split_once(", expected ").unwrap();
        let mut keys = 0;
        for key in known.split('`').skip(1).step_by(2) {
            let shown = text.lines().any(|line| {
                line.starts_with(&format!("{key} = "))
                    || line == format!("[{key}]")
                    || line == format!("[[{key}]]")
                    || line.ends_with(&format!(".{key}]]"))
            });
            assert!(shown, "{table}: {key} is not in the example");
            keys += 1;
        }
        assert!(keys >= 2, "{table}: {}", error.message());
    }
}

#[test]
fn slips_are_answered_with_line_and_what_was_meant() {
    let says = |text: &str| Config::parse(text).unwrap_err().to_string();
    let answers = [
        "[server]\nmax-mut = 1400\n",
        "[server]\nencryption = \"required\"\n",
        "[server]\nencryption-strengths = [64]\n",
        "[server]\nauthentication = [\"eap\"]\n",
        "[server]\nauthentication = [\"chap\", \"pap\"]\n",
        "[server]\nfrobnicate = 1\n",
        "[server]\nkeepalive-timeout = 30\n",
        "\n[server]\nkeepalive-timeout = \"30\"\n",
        "[server]\nmax-mtu = 9000\n",
        "[server]\ndefault-profile = \"gold\"\n",
        "[server]\nlisten = []\n",
        "[server]\nlisten = [\"0.0.0.0:1723\", \"192.0.2.1:1723\"]\n",
        "log-level = \"loud\"\n",
        "log-level = \"info,penstock\"\n",
        "control-socket = \"\"\n",
        "[limits]\nlogin-timeout = \"0s\"\n",
        "[lockout]\ntime = \"106751991167300d\"\n",
        "[[pool]]\nname = \"a\"\nranges = [\"10.0.0.9-10.0.0.1\"]\n",
        "[[pool]]\nname = \"a\"\nranges = [\"10.0.0.9\"]\nnext = \"b\"\n",
        "[[pool]]\nname = \"a\"\nranges = [\"10.0.0.9\"]\nnext = \"a\"\n",
        "[[pool]]\nname = \"a\"\nranges = [\"10.0.0.0/24\", \"10.0.0.5\"]\n",
        "[[pool]]\nname = \"a\"\nranges = [\"10.0.0.0/24\"]\n",
        "[[profile]]\nname = \"gold\"\n",
        "[[profile]]\nname = \"default\"\nlocal-address = \"10.0.0.1\"\ndns-server = [\"none\"]\n",
        "[dataplane]\ntun = \"a-name-that-is-too-long\"\n",
        "[dataplane]\ntun = \"a\\nb\"\n",
        "[dataplane]\nframes = 0\n",
        "[dataplane]\nworkers = 2\ncores = [1]\n",
        "[dataplane]\nbusy-poll = 1000000\n",
        "[dataplane]\ntable = 0\n",
        "[dataplane]\ntable = true\n",
        "[dataplane]\nmppe = \"avx\"\n",
        "[server\n",
    ]
    .map(|text| format!("{}\n    {}\n", text.trim().replace('\n', " ; "), says(text)))
    .concat();
    insta::assert_snapshot!(answers);
}

proptest! {
    #[test]
    fn no_text_panics(text in "([a-z-]{1,9} = [0-9\"a-z\\[\\]-]{0,9}\n|\\[\\[?[a-z.]{1,12}\\]?\\]\n|.{0,9}\n){0,9}") {
        let _ = Config::parse(&text);
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Path::new("/nonexistent/penstock.toml")).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/penstock.toml: cannot be read"));
}

#[test]
fn a_profile_is_completed_by_default() {
    let config = Config::parse(
        "[[profile]]\nname = \"default\"\nlocal-address = \"10.99.0.1\"\ndns-server = [\"9.9.9.9\"]\n\
         [[profile]]\nname = \"gold\"\nremote-address = \"default\"\nwins-server = [\"10.0.0.2\"]\n\
         change-tcp-mss = false\n",
    )
    .unwrap();
    let gold = config.resolve("gold").unwrap();
    assert_eq!(gold.local_address, Ipv4Addr::new(10, 99, 0, 1));
    assert_eq!(gold.remote_address, Some(RemoteAddress::Pool("default".to_owned())));
    assert_eq!(gold.dns_servers, [DnsServer::Address(Ipv4Addr::new(9, 9, 9, 9))]);
    assert_eq!(gold.wins_servers, [Ipv4Addr::new(10, 0, 0, 2)]);
    assert!(!gold.change_tcp_mss);
    let default = config.resolve("default").unwrap();
    assert_eq!((default.remote_address, default.change_tcp_mss), (None, true));
    assert_eq!(config.resolve("silver"), None);
}
