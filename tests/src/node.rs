//! Runs the peer programs of `tests/js`: published packages, driven by environment variables.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// How long a program may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a program of `tests/js` to its end and returns its answer.
///
/// What the published client refuses to do is an answer, `{"error": …}`. An `Err` means that the program could not be
/// run, took more than a minute or answered nothing.
pub async fn run(program: &str, env: &[(&str, &str)]) -> anyhow::Result<Value> {
    let mut child = spawn(program, env)?;
    // Held open until the end: the program leaves when it closes.
    let _stdin = child.stdin.take();
    let output = timeout(PATIENCE, child.wait_with_output())
        .await
        .with_context(|| format!("{program} took more than {PATIENCE:?}"))??;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed ({}): {told}", output.status);
    let stdout = String::from_utf8(output.stdout)?;
    let answer = stdout.lines().next().with_context(|| format!("{program} answered nothing: {told}"))?;
    serde_json::from_str(answer).with_context(|| format!("{program} answered {answer}"))
}

/// A published server. It ends when this is dropped, and also when the test process dies.
#[derive(Debug)]
pub struct Server {
    _child: Child,
    origin: String,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts a program of `tests/js` that serves, and returns when it listens.
    pub async fn start(program: &str, env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut child = spawn(program, env)?;
        let stdout = child.stdout.take().context("the child's output is piped")?;
        let log = Arc::new(Mutex::new(String::new()));
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(collect(stderr, log.clone()));
        }

        let mut lines = BufReader::new(stdout).lines();
        let first = timeout(PATIENCE, lines.next_line())
            .await
            .with_context(|| format!("{program} did not listen after {PATIENCE:?}"))??;
        let Some(first) = first else {
            child.wait().await?;
            bail!("{program} ended before it listened: {}", text_of(&log));
        };
        let answer: Value =
            serde_json::from_str(&first).with_context(|| format!("{program} answered {first}"))?;
        let port = answer["listening"].as_u64().with_context(|| format!("{program} answered {first}"))?;
        tokio::spawn(collect(lines.into_inner(), log.clone()));
        Ok(Self { _child: child, origin: format!("http://127.0.0.1:{port}"), log })
    }

    /// The URL of a path on the server: `server.url("/paid")`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// How often the server handed out its goods.
    pub async fn handled(&self) -> anyhow::Result<u64> {
        let text = crate::http()?.get(self.url("/handled")).send().await?.text().await?;
        let answer: Value = serde_json::from_str(&text)?;
        answer["handled"].as_u64().with_context(|| format!("/handled answered {text}"))
    }

    /// What the server has complained about so far.
    pub fn log(&self) -> String {
        text_of(&self.log)
    }
}

fn spawn(program: &str, env: &[(&str, &str)]) -> anyhow::Result<Child> {
    let folder = crate::at("js");
    ensure!(
        folder.join("node_modules").is_dir(),
        "the published peers are not installed: run `cargo xtask test`, or `npm ci --ignore-scripts` in tests/js"
    );
    Command::new("node")
        .arg(program)
        .current_dir(folder)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("`node` does not start: Node.js 20 or later is needed")
}

async fn collect(mut from: impl AsyncRead + Unpin, log: Arc<Mutex<String>>) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if let Ok(mut log) = log.lock() {
            log.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
}

fn text_of(log: &Mutex<String>) -> String {
    log.lock().map(|log| log.clone()).unwrap_or_default()
}
