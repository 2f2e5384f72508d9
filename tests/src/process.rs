//! Programs that run beside a test and never outlive it.

use std::{
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    sync::{oneshot, watch},
    time::timeout,
};

/// A running program, under a shell that keeps watch over a pipe from us. The pipe closes when we drop it and when we
/// die, even by SIGKILL, and then the shell ends the program: a killed test run leaves nothing behind. What we write into
/// it are signals for the program.
#[derive(Debug)]
pub struct Process {
    shell: Child,
    pipe: Option<ChildStdin>,
    /// Closes when the program ends.
    running: watch::Receiver<()>,
}

// The program's output must not be held open by the shell: its end is how a failed start is noticed. Signals that go to all
// of us, such as a closed terminal's, end the shell's waiting and not the shell: there are programs that ignore them.
const WATCH: &str = r#"trap : HUP INT TERM; ending=$1; shift; "$@" </dev/null & program=$!; exec >/dev/null 2>&1
while read -r signal; do kill -"$signal" "$program"; done; kill -"$ending" "$program"; wait"#;

impl Process {
    /// Starts a program and waits until it prints a line that `ready` makes something of.
    ///
    /// # Errors
    /// When the program ends before that, or takes more than 30 seconds.
    pub async fn start<T: Send + 'static>(
        program: &Path,
        args: &[&str],
        env: &[(&str, &str)],
        ready: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> anyhow::Result<(Self, T)> {
        Self::start_ending("KILL", program, args, env, ready).await
    }

    /// The same for a program that is to end with another signal, since it has something to clear away.
    pub(crate) async fn start_ending<T: Send + 'static>(
        ending: &str,
        program: &Path,
        args: &[&str],
        env: &[(&str, &str)],
        ready: impl Fn(&str) -> Option<T> + Send + 'static,
    ) -> anyhow::Result<(Self, T)> {
        let name = program.display();
        let mut shell = Command::new("sh")
            .args(["-c", WATCH, "sh", ending])
            .arg(program)
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{name} does not start: no shell"))?;
        let output = shell.stdout.take().context("the child's output is piped")?;
        let pipe = shell.stdin.take();
        let (ended, running) = watch::channel(());
        let process = Self { shell, pipe, running };

        // A thread and not a task: the output is to be read for as long as the program lives, or it would block, and
        // a test's runtime may be gone before it.
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.is_some()
                    && let Some(found) = ready(&line)
                    && let Some(tell) = tell.take()
                {
                    let _ = tell.send(found); // the one who asked may have gone
                }
            }
            drop(ended);
        });
        match timeout(Duration::from_secs(30), told).await {
            Ok(Ok(found)) => Ok((process, found)),
            Ok(Err(_)) => bail!("{name} ended before it was ready"),
            Err(_) => bail!("{name} was not ready after 30 s"),
        }
    }

    /// Sends the program a signal, like `STOP`. It arrives a moment later.
    ///
    /// # Errors
    /// When the shell that keeps watch is gone.
    pub fn signal(&mut self, name: &str) -> anyhow::Result<()> {
        let pipe = self.pipe.as_mut().context("the pipe is there until the end")?;
        Ok(writeln!(pipe, "{name}")?)
    }

    /// Waits until the program has ended by itself.
    pub async fn ended(&mut self) {
        while self.running.changed().await.is_ok() {}
    }

    /// Ends the program by SIGKILL, whatever it would have cleared away.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.signal("KILL")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}

/// Where a program is, if it is installed.
pub(crate) fn find_in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The `x402-facilitator` binary on a chain, as anyone would run it.
#[derive(Debug)]
pub struct FacilitatorBinary {
    /// Where it listens, like `http://127.0.0.1:40123`.
    pub url: String,
    _process: Process,
}

impl FacilitatorBinary {
    /// Starts it on a free port, for Base Sepolia at this endpoint, with this private key.
    ///
    /// # Errors
    /// When it has not been built, or does not start.
    pub async fn start(rpc_url: &str, private_key: &str) -> anyhow::Result<Self> {
        let env = [
            ("HOST", "127.0.0.1"),
            ("PORT", "0"),
            ("EVM_NETWORKS", "base-sepolia"),
            ("EVM_RPC_URL_BASE_SEPOLIA", rpc_url),
            ("EVM_PRIVATE_KEY", private_key),
            ("RUST_LOG", "warn"),
        ];
        let listening = |line: &str| line.split_once("listening on ").map(|(_, url)| url.trim().to_owned());
        let (process, url) = Process::start(&facilitator_binary()?, &[], &env, listening).await?;
        Ok(Self { url, _process: process })
    }

    /// Where the program is, for who runs it in another environment.
    ///
    /// # Errors
    /// When it has not been built.
    pub fn path() -> anyhow::Result<PathBuf> {
        facilitator_binary()
    }
}

/// Where the facilitator's binary is: beside the program that runs us, or above it where that is a test.
///
/// # Errors
/// When it has not been built.
pub fn facilitator_binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("x402-facilitator"))
        .find(|path| path.is_file())
        .context(
            "the facilitator's binary is not built: run `cargo build -p x402-facilitator --features bin`",
        )
}
