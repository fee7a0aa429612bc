//! Whole exports, each line of which is taken over or named.

use super::*;

/// The report, the configuration, and the users without their passwords.
fn shown(imported: &Imported) -> String {
    let users: String = imported
        .draft
        .users()
        .iter()
        .map(|user| {
            let more = user.more.iter().map(|(key, value)| format!(" {key}={value}"));
            format!("{} ({} bytes){}\n", user.name, user.password.len(), more.collect::<String>())
        })
        .collect();
    let text = imported.draft.toml().unwrap_or_else(|error| panic!("{error}"));
    format!("{}\n--- penstock.toml\n{text}--- users\n{users}", imported.report.text())
}

#[test]
fn an_export_of_routeros_6() {
    let export = include_bytes!("../../tests/data/routeros-6.rsc");
    insta::assert_snapshot!(shown(&routeros::import(export)));
}

#[test]
fn an_export_of_routeros_7() {
    let export = include_bytes!("../../tests/data/routeros-7.rsc");
    insta::assert_snapshot!(shown(&routeros::import(export)));
}

#[test]
fn a_verbose_export_of_routeros_6() {
    let export = include_bytes!("../../tests/data/routeros-6-verbose.rsc");
    insta::assert_snapshot!(shown(&routeros::import(export)));
}

#[test]
fn a_verbose_export_of_routeros_7() {
    let export = include_bytes!("../../tests/data/routeros-7-verbose.rsc");
    insta::assert_snapshot!(shown(&routeros::import(export)));
}

#[test]
fn every_option_of_accel_ppp_is_taken_over_or_named() {
    let file = include_bytes!("../../tests/data/accel-ppp-full.conf");
    let imported = accel_ppp::import(file);
    insta::assert_snapshot!(shown(&imported));
    let (whole, part, not) = imported.report.counts();
    let text = String::from_utf8_lossy(file);
    let options = text.lines().filter(|line| !line.is_empty() && !line.starts_with('['));
    assert_eq!(whole + part + not, options.count());
}

#[test]
fn a_chap_secrets_file_of_pppd() {
    let file = include_bytes!("../../tests/data/chap-secrets");
    let imported = chap_secrets::import(file);
    insta::assert_snapshot!(shown(&imported));
    let (whole, part, not) = imported.report.counts();
    let lines = file.split(|byte| *byte == b'\n');
    assert_eq!(
        whole + part + not,
        lines.filter(|line| !line.is_empty() && !line.starts_with(b"#")).count()
    );
}

/// Who is kept out there is not let in here.
#[test]
fn a_users_file_lets_nobody_in_who_was_kept_out() {
    let export = include_bytes!("../../tests/data/routeros-6-verbose.rsc");
    let (text, short) = routeros::import(export).draft.users_file();
    assert!(text.contains("\"office\"") && !text.contains("warehouse") && !text.contains("mac"));
    insta::assert_snapshot!(short.join("\n"), @r"
    `office`: the file cannot say profile, local-address, routes
    `warehouse`: disabled, so it is not in the file
    `mac`: disabled, so it is not in the file
    ");
}

/// An export hides passwords unless it is told to show them, and whoever knows a name without one
/// could log in.
#[test]
fn who_has_no_password_in_the_source_has_none_here() {
    let export = b"/ppp secret\nadd name=a password=x\nadd name=b profile=default\n\
                   add name=c password=\"\"\n/interface pptp-client\n\
                   add name=out connect-to=192.0.2.1 user=site\n";
    let imported = routeros::import(export);
    let (file, _) = imported.draft.users_file();
    assert_eq!(*file, "\"a\" * \"x\" *\n");
    assert_eq!(imported.draft.users().iter().map(|user| &user.name).collect::<Vec<_>>(), ["a"]);
    insta::assert_snapshot!(imported.report.text());
    let imported = chap_secrets::import(b"a * x *\nb * \"\" *\n");
    assert_eq!(imported.draft.users().len(), 1);
    insta::assert_snapshot!(imported.report.text());
}

/// RouterOS lets in who does not encrypt, and clients with PAP are there.
#[test]
fn what_routeros_leaves_open_about_encryption_is_named() {
    let import = |methods: &str, profile: &str| {
        let export = format!(
            "\u{FEFF}/ppp profile set *0 local-address=10.1.0.1 {profile}\n/interface pptp-server \
             server set enabled=yes {methods}\n"
        );
        shown(&routeros::import(export.as_bytes()))
    };
    let said = [
        import("authentication=pap,chap", ""),
        import("authentication=pap,chap,mschap1,mschap2", ""),
        import("authentication=mschap2", ""),
        import("authentication=pap,mschap2", "use-encryption=required"),
    ];
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn networks_that_the_daemon_refuses_and_passwords_of_two_lines_are_named() {
    let export = b"/ip pool add name=vpn ranges=10.8.0.2-10.8.0.254\n\
                   /ppp secret add name=all password=x routes=0.0.0.0/0\n\
                   /ppp secret add name=pool password=x routes=10.8.0.0/24\n\
                   /ppp secret add name=lines password=\"x\\ny\" routes=10.9.0.0/24\n";
    let imported = routeros::import(export);
    let (file, short) = imported.draft.users_file();
    assert!(!file.contains("lines"));
    insta::assert_snapshot!(format!("{}\n{}", shown(&imported), short.join("\n")));
}

#[test]
fn a_configuration_of_accel_ppp() {
    let file = include_bytes!("../../tests/data/accel-ppp.conf");
    insta::assert_snapshot!(shown(&accel_ppp::import(file)));
}

#[test]
fn no_password_is_in_a_report() {
    for imported in [
        routeros::import(include_bytes!("../../tests/data/routeros-6.rsc")),
        routeros::import(include_bytes!("../../tests/data/routeros-7.rsc")),
    ] {
        let report = imported.report.text();
        for user in imported.draft.users() {
            assert!(user.password.is_empty() || !report.contains(user.password.as_str()));
        }
        assert!(
            !report.contains("s3cret")
                && !format!("{:?}", imported.draft.users()).contains("s3cret")
        );
    }
}

#[test]
fn every_line_is_taken_over_or_named() {
    for export in [
        &include_bytes!("../../tests/data/routeros-6.rsc")[..],
        include_bytes!("../../tests/data/routeros-7.rsc"),
        include_bytes!("../../tests/data/routeros-6-verbose.rsc"),
        include_bytes!("../../tests/data/routeros-7-verbose.rsc"),
    ] {
        let imported = routeros::import(export);
        let (whole, part, not) = imported.report.counts();
        // Lines that begin a command: neither comments, nor menus alone, nor what goes on.
        let text = String::from_utf8_lossy(export);
        let mut goes_on = false;
        let commands = text.lines().filter(|line| {
            let begins = !goes_on;
            goes_on = line.ends_with('\\');
            let line = line.trim();
            let verbs = ["add", "set", "remove"];
            let verb = |line: &str| line.split([' ', '/']).any(|word| verbs.contains(&word));
            begins && !line.is_empty() && !line.starts_with('#') && verb(line)
        });
        assert_eq!(whole + part + not, commands.count());
    }
}

#[test]
fn hostile_exports_end_in_reports() {
    let long = format!("/ppp secret add name={}\n", "x".repeat(100_000));
    let deep = format!("/ppp profile set {}\n", "[ ".repeat(50_000));
    let names = "/interface pptp-client add name=../../etc connect-to=x user=y\n\
                 /interface pptp-server add name=a/b user=c\n\
                 /ip pool add name=p ranges=1.2.3.4-1.2.3.1\n\
                 /ip pool add name=q ranges=300.1.1.1\n\
                 /ppp secret add name=\"a\\0Ab\" password=x\n\
                 /ppp profile add local-address=1.1.1.1\n\
                 /interface pptp-server server set enabled=maybe max-mtu=99999999999 keepalive-timeout=-1\n";
    let mut said = String::new();
    let bytes =
        b"/ppp secret\nadd name=\xff\xfe\nadd name=\"\\FF\" password=x\nadd name=a \\\n\\\n\\"
            .to_vec();
    let endless = "\\\n".repeat(10_000);
    for text in [long.as_bytes(), deep.as_bytes(), names.as_bytes(), &bytes, endless.as_bytes()] {
        let imported = routeros::import(text);
        let report = imported.report.text();
        assert!(report.len() < 2 * text.len() + 2000);
        said.push_str(&report.chars().take(2000).collect::<String>());
        assert!(imported.draft.toml().is_ok());
    }
    insta::assert_snapshot!(said);
}
