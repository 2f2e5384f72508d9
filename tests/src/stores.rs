//! Servers that keep records, each in a folder of its own that goes with it. They can be killed, and started again at the
//! same address.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use x402_tests::stores::{Postgres, Redis};
//!
//! let mut redis = Redis::start().await?;
//! let url = redis.url(); // for as many clients as you like
//! redis.kill()?; // now they fail
//! redis.restart().await?; // and now they find an empty server
//!
//! let postgres = Postgres::start().await?;
//! let one = postgres.database().await?; // an empty one, by its URL
//! let another = postgres.database().await?;
//! # Ok(())
//! # }
//! ```

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::process::Process;

/// A Redis server on a socket in its folder.
#[derive(Debug)]
pub struct Redis {
    process: Option<Process>,
    settings: Vec<&'static str>,
    // After the process: it goes last.
    folder: TempDir,
}

impl Redis {
    /// One that keeps nothing when it is restarted.
    ///
    /// # Errors
    /// When Redis is not installed, or does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(&["--appendonly", "no"]).await
    }

    /// One that has written to disk whatever it acknowledged.
    ///
    /// # Errors
    /// When Redis is not installed, or does not start.
    pub async fn durable() -> anyhow::Result<Self> {
        Self::with(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    /// One with these settings, as on its command line.
    ///
    /// # Errors
    /// When Redis is not installed, or does not start.
    pub async fn with(settings: &[&'static str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut redis = Self { process: None, settings: settings.to_vec(), folder };
        redis.restart().await?;
        Ok(redis)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("redis.sock").display())
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("it does not run")?.kill()
    }

    /// Makes it hang, with its connections, from some moment on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        self.process.as_mut().context("it does not run")?.signal("STOP")
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        self.process.as_mut().context("it does not run")?.signal("CONT")
    }

    /// Starts it at the same address; kills it first if it runs.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = None;
        let program = find("redis-server", &paths()).context(
            "redis-server is not installed: run `cargo xtask test`, or `apt-get install redis-server`",
        )?;
        let folder = self.folder.path().to_str().context("the folder's name is no text")?;
        let socket = format!("{folder}/redis.sock");
        let mut args = vec!["--port", "0", "--unixsocket", &socket, "--dir", folder, "--save", ""];
        args.extend(&self.settings);
        let ready = |line: &str| line.to_lowercase().contains("ready to accept connections").then_some(());
        self.process = Some(Process::start(&program, &args, &[], ready).await?.0);
        Ok(())
    }
}

/// A PostgreSQL server on a socket in its folder. It writes what it acknowledged, to survive its own death.
#[derive(Debug)]
pub struct Postgres {
    process: Option<Process>,
    programs: PathBuf,
    user: Option<User>,
    settings: Vec<&'static str>,
    databases: AtomicU64,
    // After the process: it goes last.
    folder: TempDir,
}

/// PostgreSQL refuses root.
#[derive(Debug, Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// One that does not wait for the disk.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::with(&["fsync=off", "full_page_writes=off"]).await
    }

    /// One that has written to disk whatever it acknowledged.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not start.
    pub async fn durable() -> anyhow::Result<Self> {
        Self::with(&["fsync=on"]).await
    }

    /// One with these settings.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not start.
    pub async fn with(settings: &[&'static str]) -> anyhow::Result<Self> {
        let initdb = find("initdb", &postgres_paths()).context(
            "PostgreSQL is not installed: run `cargo xtask test`, or `apt-get install postgresql`",
        )?;
        let programs = initdb.parent().context("a program lies in a folder")?.to_owned();
        let folder = tempfile::tempdir()?;
        let user = (fs::metadata(folder.path())?.uid() == 0).then_some(User { uid: 65534, gid: 65534 });
        if let Some(User { uid, gid }) = user {
            chown(folder.path(), Some(uid), Some(gid))?;
        }
        let databases = AtomicU64::new(0);
        let mut postgres =
            Self { process: None, programs, user, settings: settings.to_vec(), databases, folder };
        let data = postgres.data();
        let data = data.to_str().context("the folder's name is no text")?;
        let options = ["-D", data, "-U", "postgres", "-A", "trust", "--encoding=UTF8", "--locale=C", "-N"];
        postgres.run("initdb", &options).await?;
        postgres.restart().await?;
        Ok(postgres)
    }

    /// A new and empty database, by its URL.
    ///
    /// # Errors
    /// When the server does not run.
    pub async fn database(&self) -> anyhow::Result<String> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let folder = self.folder.path().to_str().context("the folder's name is no text")?;
        self.run("createdb", &["-h", folder, "-U", "postgres", &name]).await?;
        Ok(format!("postgres://postgres@localhost/{name}?host={folder}"))
    }

    /// Ends it by SIGKILL.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("it does not run")?.kill()
    }

    /// Starts it at the same address; ends it first if it runs.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.process = None;
        // Those who served connections of a killed one take a moment to notice, and it does not start beside them.
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match self.boot().await {
                Ok(process) => break self.process = Some(process),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => sleep(Duration::from_millis(200)).await,
            }
        }
        Ok(())
    }

    async fn boot(&self) -> anyhow::Result<Process> {
        let server = self.programs.join("postgres");
        let (data, folder) = (self.data(), self.folder.path());
        // It logs to its standard error, and runs as another user where we are root.
        let mut words = vec!["exec \"$@\" 2>&1".to_owned(), "sh".to_owned()];
        if let Some(User { uid, gid }) = self.user {
            words.extend(["setpriv".to_owned(), format!("--reuid={uid}"), format!("--regid={gid}")]);
            words.push("--clear-groups".to_owned());
        }
        for word in [server.as_path(), Path::new("-D"), &data, Path::new("-k"), folder] {
            words.push(word.to_str().context("the folder's name is no text")?.to_owned());
        }
        // In the folder, and not among what is shared by the whole machine and stays there after a SIGKILL.
        let ours = ["listen_addresses=", "dynamic_shared_memory_type=mmap", "max_connections=200"];
        for setting in ours.iter().chain(&self.settings) {
            words.extend(["-c".to_owned(), (*setting).to_owned()]);
        }
        let mut args = vec!["-c"];
        args.extend(words.iter().map(String::as_str));
        let ready = |line: &str| line.contains("ready to accept connections").then_some(());
        Ok(Process::start_ending("QUIT", Path::new("sh"), &args, &[], ready).await?.0)
    }

    /// Runs one of PostgreSQL's programs to its end.
    async fn run(&self, program: &str, args: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(self.programs.join(program));
        command.args(args).current_dir(self.folder.path()).kill_on_drop(true);
        if let Some(User { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        let output = command.output().await.with_context(|| format!("{program} does not start"))?;
        ensure!(
            output.status.success(),
            "{program} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
}

/// Debian keeps the programs of each version in a folder of its own, off the search path. The newest comes first.
fn postgres_paths() -> Vec<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    folders.extend(paths());
    folders
}

fn paths() -> Vec<PathBuf> {
    std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default()
}

fn find(program: &str, folders: &[PathBuf]) -> anyhow::Result<PathBuf> {
    match folders.iter().map(|folder| folder.join(program)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("there is no {program}"),
    }
}
