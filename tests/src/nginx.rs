//! A proxy between clients and a service: nginx, as strangers run it.

use std::{fs, net::SocketAddr, os::unix::fs::MetadataExt, path::Path};

use anyhow::Context;

use crate::{
    process::{Process, find_in_path},
    serve::Serving,
};

/// A proxy in front of a service, which keeps for ten minutes whatever it may keep, for everybody. `x-cache-status` says
/// whether it did.
///
/// # Errors
/// When nginx is not installed, or does not start.
pub async fn caching_proxy(upstream: SocketAddr) -> anyhow::Result<Serving> {
    let keeping = "proxy_cache all; proxy_cache_key $request_uri; proxy_cache_valid any 10m;
                   add_header x-cache-status $upstream_cache_status always;";
    proxy(upstream, keeping).await
}

/// A proxy in front of a service, which puts this Content-Security-Policy on every answer, beside what it has.
///
/// # Errors
/// When nginx is not installed, or does not start.
pub async fn strict_proxy(upstream: SocketAddr, policy: &str) -> anyhow::Result<Serving> {
    proxy(upstream, &format!("add_header content-security-policy \"{policy}\" always;")).await
}

/// A proxy in front of a service, as it is delivered.
///
/// # Errors
/// When nginx is not installed, or does not start.
pub async fn plain_proxy(upstream: SocketAddr) -> anyhow::Result<Serving> {
    proxy(upstream, "").await
}

async fn proxy(upstream: SocketAddr, directives: &str) -> anyhow::Result<Serving> {
    let sbin = Path::new("/usr/sbin/nginx");
    let program = find_in_path("nginx").or_else(|| sbin.is_file().then(|| sbin.to_owned()));
    let program = program
        .context("nginx is not installed: run `cargo xtask browser`, or `apt-get install nginx-light`")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_str().context("the folder's name is no text")?;
    // It lets its workers be nobody where we are root, and they would not get into the folder.
    let user = if fs::metadata(path)?.uid() == 0 { "user root;" } else { "" };
    // Free a moment ago, which has to do: nginx says nothing of a port that it chose itself.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {path}/{kind};"))
        .concat();
    let config = format!(
        "{user} daemon off; worker_processes 1; pid {path}/pid; error_log stderr notice; events {{}}
        http {{
            access_log off; {temporary} proxy_cache_path {path}/cache keys_zone=all:1m;
            server {{
                listen {address};
                location / {{
                    proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_set_header connection '';
                    {directives}
                }}
            }}
        }}"
    );
    let file = format!("{path}/nginx.conf");
    fs::write(&file, config)?;
    let program = program.to_str().context("the program's name is no text")?;
    // It logs to its standard error.
    let args = ["-c", "exec \"$@\" 2>&1", "sh", program, "-e", "stderr", "-p", path, "-c", &file];
    let ready = |line: &str| line.contains("start worker process ").then_some(());
    let (process, ()) = Process::start_ending("TERM", Path::new("sh"), &args, &[], ready).await?;
    Ok(Serving::ended_by(address, move || drop((process, folder))))
}
