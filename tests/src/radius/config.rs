//! The files that FreeRADIUS reads, complete and our own: nothing of the machine's configuration
//! is used but the dictionary that comes with the program.
//! Never writes outside the directory that it is given.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Result;

use super::{PEERS, SECRET};

/// Name of the pool from which `sqlippool` gives addresses, for `Pool-Name` in users.
pub const POOL: &str = "subscribers";

/// What differs between the servers of tests.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it serves: authentication on port 1812, accounting on 1813.
    pub address: Ipv4Addr,
    /// Users in the form of FreeRADIUS's `users` file.
    pub users: String,
    /// Whether it refuses Access-Requests without Message-Authenticator, and puts one into all of
    /// its answers.
    pub message_authenticator: bool,
    /// Addresses of the pool [`POOL`].
    pub pool: Vec<Ipv4Addr>,
}

impl Settings {
    /// A server at `address` with these users that sends Message-Authenticator.
    pub fn new(address: Ipv4Addr, users: &str) -> Self {
        Self { address, users: users.to_owned(), message_authenticator: true, pool: Vec::new() }
    }
}

/// Writes all files into `directory`.
pub(super) fn write(directory: &Path, settings: &Settings) -> Result<()> {
    std::fs::write(directory.join("radiusd.conf"), radiusd(directory, settings))?;
    std::fs::write(directory.join("users"), &settings.users)?;
    std::fs::write(directory.join("pool.sql"), pool(&settings.pool))?;
    Ok(())
}

fn pool(addresses: &[Ipv4Addr]) -> String {
    let mut text = String::from(
        "CREATE TABLE radippool (\n\
         id INTEGER PRIMARY KEY,\n\
         pool_name TEXT NOT NULL,\n\
         framedipaddress TEXT NOT NULL,\n\
         nasipaddress TEXT NOT NULL DEFAULT '',\n\
         callingstationid TEXT NOT NULL DEFAULT '',\n\
         expiry_time INTEGER NOT NULL DEFAULT 0,\n\
         username TEXT NOT NULL DEFAULT '',\n\
         pool_key TEXT NOT NULL DEFAULT '');\n",
    );
    for address in addresses {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "INSERT INTO radippool (pool_name, framedipaddress) VALUES ('{POOL}', '{address}');"
        );
    }
    text
}

fn radiusd(directory: &Path, settings: &Settings) -> String {
    let Settings { address, message_authenticator, .. } = settings;
    let directory = directory.display();
    let required = if *message_authenticator { "yes" } else { "no" };
    // FreeRADIUS computes the value of an attribute that is there.
    let sign = if *message_authenticator {
        "update reply {\n Message-Authenticator := 0x00\n}"
    } else {
        ""
    };
    // Accounts wait for the pool's database: only where there is a pool.
    let release = if settings.pool.is_empty() {
        ""
    } else {
        "if (&Framed-IP-Address || \"%{Acct-Status-Type}\" =~ /^Accounting-/) {\n sqlippool\n}"
    };
    format!(
        r#"
raddbdir = {directory}
logdir = {directory}
run_dir = {directory}
libdir = {PEERS}/usr/lib/freeradius
max_request_time = 30
cleanup_delay = 5
max_requests = 65536
hostname_lookups = no
proxy_requests = no
log {{
    auth = no
}}
security {{
    reject_delay = 1
    status_server = yes
    # Distributions mend OpenSSL without changing its version.
    allow_vulnerable_openssl = yes
}}
thread pool {{
    start_servers = 2
    max_servers = 4
    min_spare_servers = 1
    max_spare_servers = 3
    max_queue_size = 65536
    max_requests_per_server = 0
}}
client lab {{
    ipaddr = 0.0.0.0/0
    secret = "{SECRET}"
    require_message_authenticator = {required}
}}
modules {{
    always ok {{
        rcode = ok
    }}
    files {{
        usersfile = {directory}/users
    }}
    pap {{
    }}
    chap {{
    }}
    mschap {{
        # As everywhere: Windows sends DOMAIN\user and computes with user alone.
        with_ntdomain_hack = yes
    }}
    detail requests {{
        filename = {directory}/requests
        permissions = 0600
    }}
    detail accounting {{
        filename = {directory}/accounting
        permissions = 0600
    }}
    sql {{
        dialect = "sqlite"
        driver = "rlm_sql_sqlite"
        sqlite {{
            filename = "{directory}/pool.db"
            busy_timeout = 2000
            bootstrap = "{directory}/pool.sql"
        }}
        radius_db = "pool"
        read_clients = no
        pool {{
            start = 1
            min = 1
            max = 2
            spare = 1
            uses = 0
            lifetime = 0
            idle_timeout = 0
        }}
    }}
    sqlippool {{
        sql_module_instance = "sql"
        dialect = "sqlite"
        pool_name = "Pool-Name"
        ippool_table = "radippool"
        lease_duration = 3600
        attribute_name = Framed-IP-Address
        pool_key = "%{{NAS-Port}}"
        # Debian 12's own query for a free address lacks an AND.
        allocate_begin = "BEGIN EXCLUSIVE"
        allocate_commit = "COMMIT"
        allocate_find = "SELECT framedipaddress FROM ${{ippool_table}} WHERE pool_name = '%{{control:${{pool_name}}}}' AND expiry_time < strftime('%%s', 'now') + 0 ORDER BY expiry_time, id LIMIT 1"
        pool_check = "SELECT id FROM ${{ippool_table}} WHERE pool_name = '%{{control:${{pool_name}}}}' LIMIT 1"
        allocate_update = "UPDATE ${{ippool_table}} SET nasipaddress = '%{{NAS-IP-Address}}', pool_key = '${{pool_key}}', callingstationid = '%{{Calling-Station-Id}}', username = '%{{User-Name}}', expiry_time = strftime('%%s', 'now') + ${{lease_duration}} WHERE framedipaddress = '%I'"
        start_update = "UPDATE ${{ippool_table}} SET expiry_time = strftime('%%s', 'now') + ${{lease_duration}} WHERE pool_key = '${{pool_key}}' AND framedipaddress = '%{{Framed-IP-Address}}'"
        alive_update = "${{start_update}}"
        stop_clear = "UPDATE ${{ippool_table}} SET expiry_time = 0, username = '' WHERE pool_key = '${{pool_key}}' AND username = '%{{User-Name}}' AND framedipaddress = '%{{Framed-IP-Address}}'"
        on_clear = "UPDATE ${{ippool_table}} SET expiry_time = 0, username = '' WHERE nasipaddress = '%{{NAS-IP-Address}}'"
        off_clear = "${{on_clear}}"
    }}
}}
server default {{
    listen {{
        type = auth
        ipaddr = {address}
        port = 1812
    }}
    listen {{
        type = acct
        ipaddr = {address}
        port = 1813
    }}
    authorize {{
        requests
        chap
        mschap
        files
        pap
    }}
    authenticate {{
        Auth-Type PAP {{
            pap
        }}
        Auth-Type CHAP {{
            chap
        }}
        Auth-Type MS-CHAP {{
            mschap
        }}
    }}
    preacct {{
        ok
    }}
    accounting {{
        accounting
        {release}
        ok
    }}
    post-auth {{
        if (&control:Pool-Name) {{
            sqlippool
        }}
        {sign}
        Post-Auth-Type REJECT {{
            {sign}
        }}
    }}
}}
"#
    )
}
