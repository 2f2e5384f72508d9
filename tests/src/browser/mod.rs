//! A real browser: headless Chromium, spoken to over its DevTools protocol, or Firefox, over WebDriver BiDi, where
//! `X402_BROWSER` says `firefox`.
//!
//! - [`Browser`] is one process for many cases; each [`Visitor`] has a profile of his own, and one tab;
//! - [`Wallet`] is what he has installed: it signs through the accounts of a [`Chain`](crate::Chain)'s node, lives outside
//!   of the page as an extension does, and so outlives a reload.
//!
//! What the page must not do is counted by the browser itself, from before the first byte: see [`Visitor::conduct`].

mod cdp;
mod firefox;
mod tab;
mod visitor;
mod wallet;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use tempfile::TempDir;

use self::firefox::Firefox;
use crate::process::{Process, find_in_path};

pub use visitor::{COMPLETE, Conduct, Download, Setup, Visitor};
pub use wallet::{Answer, Wallet};

/// A running browser. It is gone when this is dropped, and also when the test process dies.
#[derive(Debug)]
pub struct Browser {
    engine: Engine,
    _process: Process,
    // After the process: it goes last.
    folder: TempDir,
}

#[derive(Debug)]
enum Engine {
    /// Where it listens.
    Chromium(u16, String),
    Firefox(Firefox),
}

/// What a page puts into the clipboard can be read without a question, and nothing moves.
const PREFERENCES: &str = "user_pref(\"dom.events.testing.asyncClipboard\", true);
user_pref(\"ui.prefersReducedMotion\", 1);
";

/// Nothing of a browser's own is to be seen on the network, and no tab waits for another one. Fonts look the same on
/// every screen.
const FLAGS: [&str; 17] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--font-render-hinting=none",
    "--hide-scrollbars",
    "--no-first-run",
    "--remote-debugging-port=0",
];

impl Browser {
    /// Starts it, with an empty profile.
    ///
    /// # Errors
    /// When it is not installed, or does not start.
    pub async fn start() -> anyhow::Result<Self> {
        if env::var_os("X402_BROWSER").is_some_and(|name| name == "firefox") {
            return Self::start_firefox().await;
        }
        let program = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find_in_path);
        let program = program
            .context("Chromium is not installed: run `cargo xtask browser`, or `apt-get install chromium`")?;
        let folder = tempfile::tempdir()?;
        let profile = format!("--user-data-dir={}", text(folder.path().join("profile"))?);
        let program = text(program)?;
        // It tells where it listens on its standard error.
        let mut words = vec!["-c", "exec \"$@\" 2>&1", "sh", &program, &profile];
        words.extend(FLAGS);
        words.push("about:blank");
        let listening = |line: &str| {
            let (port, path) = line.strip_prefix("DevTools listening on ws://127.0.0.1:")?.split_once('/')?;
            Some((port.parse().ok()?, format!("/{path}")))
        };
        // Not by SIGKILL, which its many processes would survive.
        let home = text(folder.path().to_owned())?;
        let env = [("HOME", home.as_str())];
        let (process, (port, path)) =
            Process::start_ending("TERM", Path::new("sh"), &words, &env, listening).await?;
        Ok(Self { engine: Engine::Chromium(port, path), _process: process, folder })
    }

    async fn start_firefox() -> anyhow::Result<Self> {
        let program = ["firefox-esr", "firefox"].into_iter().find_map(find_in_path);
        let program = program.context(
            "Firefox is not installed: run `cargo xtask browser --firefox`, or `apt-get install firefox-esr`",
        )?;
        let folder = tempfile::tempdir()?;
        let profile = folder.path().join("profile");
        fs::create_dir(&profile)?;
        fs::write(profile.join("user.js"), PREFERENCES)?;
        let (program, profile) = (text(program)?, text(profile)?);
        let flags = ["--headless", "--no-remote", "--remote-debugging-port=0", "--profile", &profile];
        let mut words = vec!["-c", "exec \"$@\" 2>&1", "sh", &program];
        words.extend(flags);
        let listening = |line: &str| {
            let port = line.strip_prefix("WebDriver BiDi listening on ws://127.0.0.1:")?;
            port.trim().parse::<u16>().ok()
        };
        let home = text(folder.path().to_owned())?;
        let env = [("HOME", home.as_str())];
        let (process, port) = Process::start_ending("TERM", Path::new("sh"), &words, &env, listening).await?;
        let engine = Engine::Firefox(Firefox::connect(port).await?);
        Ok(Self { engine, _process: process, folder })
    }

    /// Somebody with a profile of his own, who has opened nothing yet.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn visitor(&self, setup: Setup) -> anyhow::Result<Visitor> {
        self.tab(None, setup).await
    }

    /// The same visitor's second tab. It goes with the first one.
    ///
    /// # Errors
    /// When the browser does not answer.
    pub async fn another_tab(&self, first: &Visitor, setup: Setup) -> anyhow::Result<Visitor> {
        self.tab(Some(first.profile()), setup).await
    }

    async fn tab(&self, profile: Option<&str>, setup: Setup) -> anyhow::Result<Visitor> {
        let downloads = tempfile::tempdir_in(self.folder.path())?;
        match &self.engine {
            Engine::Chromium(port, path) => {
                let connection = cdp::Connection::open(*port, path).await?;
                Visitor::enter(connection, profile, setup, downloads).await
            }
            Engine::Firefox(browser) => Visitor::enter_firefox(browser, profile, setup, downloads).await,
        }
    }
}

fn text(path: PathBuf) -> anyhow::Result<String> {
    path.into_os_string().into_string().ok().context("the path is no text")
}
