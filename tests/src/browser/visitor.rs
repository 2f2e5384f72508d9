//! Somebody who opens a page, looks at it, and clicks.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    cdp::{Connection, Event, Session},
    firefox::{self, Firefox},
    tab::Tab,
    wallet::{Fault, Wallet},
};

/// How long a page may take to do what is expected of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const POLL: Duration = Duration::from_millis(20);

/// Whether a page is there, whole, whatever its elements are named.
pub const COMPLETE: &str =
    "Object.getOwnPropertyDescriptor(Document.prototype, 'readyState').get.call(document) === 'complete'";

/// Who comes, and with what.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The wallets installed.
    pub wallets: Vec<Wallet>,
    /// The first wallet is `window.ethereum`, and announces nothing.
    pub fallback: bool,
    /// So many milliseconds after the document began the wallets come into it.
    pub late: u64,
    /// The languages read, as `Accept-Language` has them.
    pub language: &'static str,
    /// Prefers dark pages.
    pub dark: bool,
    /// On a phone.
    pub phone: bool,
    /// How large its window is, where it matters.
    pub window: Option<(u32, u32)>,
    /// The system's few colours alone are shown.
    pub forced_colors: bool,
    /// Prefers things to stand still.
    pub still: bool,
    /// Runs scripts.
    pub scripts: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            wallets: Vec::new(),
            fallback: false,
            late: 0,
            language: "en-US,en",
            dark: false,
            phone: false,
            window: None,
            forced_colors: false,
            still: true,
            scripts: true,
        }
    }
}

impl Setup {
    /// The script that leaves the wallets in a page, which speaks to them with this function.
    fn injected(&self, tell: &str) -> String {
        let Self { wallets, fallback, late, .. } = self;
        let wallets: Vec<_> = wallets.iter().map(Wallet::info).collect();
        let source = include_str!("wallet.js").trim_end();
        format!("{source}({}, {fallback}, {late}, {tell})", json!(wallets))
    }

    /// Whether nothing is asked for but wallets and a window.
    fn is_plain(&self) -> bool {
        let Self { language, dark, phone, forced_colors, scripts, .. } = *self;
        language == Self::default().language && !dark && !phone && !forced_colors && scripts
    }
}

impl From<&Wallet> for Setup {
    fn from(wallet: &Wallet) -> Self {
        Self { wallets: vec![wallet.clone()], ..Self::default() }
    }
}

/// A person in front of a tab. Dropped, the tab and its profile are gone.
#[derive(Debug)]
pub struct Visitor {
    tab: Tab,
    profile: String,
    seen: Arc<Mutex<Conduct>>,
    downloads: TempDir,
    _events: AbortOnDropHandle<()>,
    _connection: Option<Connection>,
}

/// What the page did that nobody sees, since the visitor came.
#[derive(Debug, Clone, Default)]
pub struct Conduct {
    /// What its content security policy forbade.
    pub violations: Vec<String>,
    /// The URLs it asked for, itself included.
    pub requests: Vec<String>,
    /// Errors that nobody caught, and windows of `alert` and its like.
    pub errors: Vec<String>,
    /// What it saved, complete.
    pub downloads: Vec<Download>,
    saving: Vec<(String, String)>,
}

impl Conduct {
    /// The requests that went elsewhere than to this origin, `http://127.0.0.1:40123`.
    pub fn foreign(&self, origin: &str) -> Vec<String> {
        let own = |url: &str| {
            ["data:", "blob:", "about:"].iter().any(|scheme| url.starts_with(scheme))
                || url.strip_prefix(origin).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.requests.iter().filter(|url| !own(url)).cloned().collect()
    }
}

impl Conduct {
    /// What Firefox tells of a tab.
    fn note(&mut self, method: &str, params: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match method {
            "network.beforeRequestSent" => self.requests.push(text(&params["request"]["url"])),
            "log.entryAdded" if params["type"] == "javascript" && params["level"] == "error" => {
                let said = text(&params["text"]);
                let policy = said.starts_with("Content-Security-Policy");
                if policy { self.violations.push(said) } else { self.errors.push(said) }
            }
            "browsingContext.userPromptOpened" => {
                self.errors.push(format!("a window opened: {}", params["message"]));
            }
            "browsingContext.downloadWillBegin" => {
                self.saving.push((params["navigation"].to_string(), text(&params["suggestedFilename"])));
            }
            "browsingContext.downloadEnd" if params["status"] == "complete" => {
                let navigation = params["navigation"].to_string();
                if let Some(at) = self.saving.iter().position(|(saving, _)| *saving == navigation) {
                    let (_, name) = self.saving.remove(at);
                    self.downloads.push(Download { name, path: text(&params["filepath"]).into() });
                }
            }
            _ => {}
        }
    }
}

/// A file that was saved.
#[derive(Debug, Clone)]
pub struct Download {
    /// The name it was given.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Visitor {
    pub(super) async fn enter(
        mut connection: Connection,
        profile: Option<&str>,
        setup: Setup,
        downloads: TempDir,
    ) -> anyhow::Result<Self> {
        let events = connection.events()?;
        let browser = connection.session(None);
        let context = match profile {
            Some(profile) => profile.to_owned(),
            None => {
                let created =
                    browser.send("Target.createBrowserContext", json!({ "disposeOnDetach": true })).await?;
                created["browserContextId"].as_str().context("no profile")?.to_owned()
            }
        };
        let target = json!({ "url": "about:blank", "browserContextId": context });
        let target = browser.send("Target.createTarget", target).await?;
        let session = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.send("Target.attachToTarget", session).await?;
        let tab = connection.session(Some(session["sessionId"].as_str().context("no session")?));
        let saved = json!({
            "behavior": "allowAndName", "browserContextId": context, "eventsEnabled": true,
            "downloadPath": downloads.path(),
        });
        browser.send("Browser.setDownloadBehavior", saved).await?;
        let allowed = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"], "browserContextId": context });
        browser.send("Browser.grantPermissions", allowed).await?;

        let seen = Arc::<Mutex<Conduct>>::default();
        let watcher = Watcher {
            tab: tab.clone(),
            frame: target["targetId"].as_str().context("no tab")?.to_owned(),
            wallets: setup.wallets.clone(),
            seen: seen.clone(),
            folder: downloads.path().into(),
        };
        let watch = watcher.watch(events);
        let events = AbortOnDropHandle::new(tokio::spawn(watch));
        set_up(&tab, &setup).await?;
        let (tab, connection) = (Tab::Chromium(tab), Some(connection));
        Ok(Self { tab, profile: context, seen, downloads, _events: events, _connection: connection })
    }

    /// The same in Firefox, which cannot be set up in every way.
    pub(super) async fn enter_firefox(
        browser: &Firefox,
        profile: Option<&str>,
        setup: Setup,
        downloads: TempDir,
    ) -> anyhow::Result<Self> {
        let Setup { wallets, window, .. } = &setup;
        ensure!(setup.is_plain(), "Firefox is not set up like this: {setup:?}");
        let profile = match profile {
            Some(profile) => profile.to_owned(),
            None => browser.profile().await?,
        };
        let size = window.unwrap_or((1280, 800));
        let (tab, mut told) = browser.tab(&profile, downloads.path(), size).await?;
        let seen = Arc::<Mutex<Conduct>>::default();
        let (noted, wallet_tab, all) = (seen.clone(), tab.clone(), wallets.clone());
        let events = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(Event { method, params }) = told.recv().await {
                if method == "script.message" && params["channel"] == firefox::WALLET {
                    let (tab, wallets) = (wallet_tab.clone(), all.clone());
                    tokio::spawn(async move {
                        let script = answer(&wallets, &params["data"]["value"]).await?;
                        tab.evaluate_in(&script, &json!({ "realm": params["source"]["realm"] })).await
                    });
                } else {
                    lock(&noted).note(&method, &params);
                }
            }
        }));
        if !wallets.is_empty() {
            let channel = json!([{ "type": "channel", "value": { "channel": firefox::WALLET } }]);
            let source = format!("(tell) => {{ {}; }}", setup.injected("tell"));
            tab.before_each_page(&source, channel).await?;
        }
        let tab = Tab::Firefox(tab);
        Ok(Self { tab, profile, seen, downloads, _events: events, _connection: None })
    }

    pub(super) fn profile(&self) -> &str {
        &self.profile
    }

    /// Runs a script in each page before its own.
    pub async fn before_each_page(&self, source: &str) -> anyhow::Result<()> {
        self.tab.before_each_page(source).await
    }

    /// Opens a page, and returns when it has loaded.
    pub async fn open(&self, url: &str) -> anyhow::Result<()> {
        self.leave(Some(url)).await
    }

    /// Loads the page anew.
    pub async fn reload(&self) -> anyhow::Result<()> {
        self.leave(None).await
    }

    async fn leave(&self, url: Option<&str>) -> anyhow::Result<()> {
        self.evaluate("window.__left = true").await?;
        self.tab.leave(url).await?;
        self.until(&format!("!window.__left && {COMPLETE}")).await
    }

    /// What an expression comes to in the page; a promise is waited for.
    pub async fn evaluate(&self, expression: &str) -> anyhow::Result<Value> {
        self.tab.evaluate(expression).await
    }

    /// Returns once this holds in the page, whichever is open by then.
    pub async fn until(&self, expression: &str) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // An error: the page is being left.
            let last = self.evaluate(expression).await;
            match last {
                Ok(Value::Bool(true)) => return Ok(()),
                _ if Instant::now() < deadline => sleep(POLL).await,
                last => {
                    let page = "[location.href, document.querySelector('[data-state]')?.dataset.state, document.body?.innerText]";
                    let page = self.evaluate(page).await.unwrap_or_default();
                    let errors = self.conduct().errors;
                    bail!("not after {PATIENCE:?}: {expression} ({last:?}) in {page} {errors:?}");
                }
            }
        }
    }

    /// The text of an element, as it is seen; a space is a space, whether lines may break there or not.
    pub async fn text(&self, selector: &str) -> anyhow::Result<String> {
        let found = self.evaluate(&format!("document.querySelector({})?.innerText", json!(selector))).await?;
        Ok(found.as_str().with_context(|| format!("no {selector}"))?.replace('\u{a0}', " "))
    }

    /// Clicks in the middle of an element, once it is there, enabled and not covered.
    pub async fn click(&self, selector: &str) -> anyhow::Result<()> {
        self.click_times(selector, 1).await
    }

    /// Clicks twice, as fast as people do.
    pub async fn double_click(&self, selector: &str) -> anyhow::Result<()> {
        self.click_times(selector, 2).await
    }

    async fn click_times(&self, selector: &str, times: usize) -> anyhow::Result<()> {
        let middle = format!(
            "(() => {{
                const element = document.querySelector({});
                if (!element || element.disabled) return null;
                element.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                const box = element.getBoundingClientRect();
                const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
                const hit = document.elementFromPoint(x, y);
                return hit && (element.contains(hit) || hit.contains(element) && hit.matches('label')) ? {{ x, y }} : null;
            }})()",
            json!(selector)
        );
        let deadline = Instant::now() + PATIENCE;
        let mut at = Value::Null;
        loop {
            // Where it was a moment ago, too: what moves is missed.
            let before = std::mem::replace(&mut at, self.evaluate(&middle).await.unwrap_or_default());
            if at.is_object() && at == before {
                break;
            }
            ensure!(Instant::now() < deadline, "no way to click {selector}");
            sleep(POLL).await;
        }
        self.tab.click(&at["x"], &at["y"], times).await
    }

    /// Presses a key: `Tab`, `Enter`, ` ` or `Escape`.
    pub async fn press(&self, key: &str) -> anyhow::Result<()> {
        self.tab.press(key).await
    }

    /// Presses `Tab` until this element has the focus.
    pub async fn tab_to(&self, selector: &str) -> anyhow::Result<()> {
        let here = format!("document.activeElement?.matches({}) === true", json!(selector));
        for _ in 0..50 {
            if self.evaluate(&here).await? == true {
                return Ok(());
            }
            self.press("Tab").await?;
        }
        bail!("{selector} is not reached by the keyboard")
    }

    /// What was copied last, by whichever visitor of the browser.
    pub async fn clipboard(&self) -> anyhow::Result<String> {
        let text = self.evaluate("navigator.clipboard.readText()").await?;
        Ok(text.as_str().context("nothing was copied")?.to_owned())
    }

    /// A picture of what is to be seen, in PNG.
    pub async fn screenshot(&self) -> anyhow::Result<Vec<u8>> {
        Ok(BASE64_STANDARD.decode(self.tab.picture().await?)?)
    }

    /// Returns once this many files were saved.
    pub async fn saved(&self, count: usize) -> anyhow::Result<Vec<Download>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let downloads = self.conduct().downloads;
            if downloads.len() >= count {
                return Ok(downloads);
            }
            ensure!(Instant::now() < deadline, "{} files were saved, not {count}", downloads.len());
            sleep(POLL).await;
        }
    }

    /// What the page did that nobody sees. What it did before the last answer to us is there.
    pub fn conduct(&self) -> Conduct {
        lock(&self.seen).clone()
    }

    /// The folder that files are saved in.
    pub fn downloads(&self) -> &std::path::Path {
        self.downloads.path()
    }
}

/// Makes the browser as the visitor has it.
async fn set_up(tab: &Session, setup: &Setup) -> anyhow::Result<()> {
    for domain in ["Page", "Runtime", "Network", "Audits"] {
        tab.send(&format!("{domain}.enable"), json!({})).await?;
    }
    let (width, height, scale) = if setup.phone { (390, 844, 2) } else { (1280, 800, 1) };
    let (width, height) = setup.window.unwrap_or((width, height));
    let screen =
        json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": setup.phone });
    tab.send("Emulation.setDeviceMetricsOverride", screen).await?;
    let scheme = if setup.dark { "dark" } else { "light" };
    let motion = if setup.still { "reduce" } else { "no-preference" };
    let features = json!({ "features": [
        { "name": "prefers-color-scheme", "value": scheme },
        { "name": "prefers-reduced-motion", "value": motion },
        { "name": "forced-colors", "value": if setup.forced_colors { "active" } else { "none" } },
    ]});
    tab.send("Emulation.setEmulatedMedia", features).await?;
    tab.send("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await?;
    tab.send("Emulation.setTouchEmulationEnabled", json!({ "enabled": setup.phone })).await?;
    let agent = Tab::Chromium(tab.clone()).evaluate("navigator.userAgent").await?;
    let language = json!({ "userAgent": agent, "acceptLanguage": setup.language });
    tab.send("Emulation.setUserAgentOverride", language).await?;
    if !setup.wallets.is_empty() {
        tab.send("Runtime.addBinding", json!({ "name": "__wallet" })).await?;
        let source = setup.injected("window.__wallet");
        Tab::Chromium(tab.clone()).before_each_page(&source).await?;
    }
    if !setup.scripts {
        tab.send("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await?;
    }
    Ok(())
}

/// Takes down what the browser tells.
struct Watcher {
    tab: Session,
    /// The tab's own; the browser also tells of what others save.
    frame: String,
    wallets: Vec<Wallet>,
    seen: Arc<Mutex<Conduct>>,
    folder: PathBuf,
}

impl Watcher {
    async fn watch(self, mut events: mpsc::UnboundedReceiver<Event>) {
        while let Some(Event { method, params }) = events.recv().await {
            self.take_down(&method, params);
        }
    }

    fn take_down(&self, method: &str, params: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut seen = lock(&self.seen);
        match method {
            "Runtime.bindingCalled" => {
                tokio::spawn(serve(self.tab.clone(), self.wallets.clone(), params));
            }
            "Network.requestWillBeSent" => seen.requests.push(text(&params["request"]["url"])),
            "Network.webSocketCreated" => seen.requests.push(text(&params["url"])),
            "Audits.issueAdded" => {
                if let Some(issue) = params["issue"]["details"].get("contentSecurityPolicyIssueDetails") {
                    seen.violations.push(issue.to_string());
                }
            }
            "Runtime.exceptionThrown" => {
                let exception = &params["exceptionDetails"];
                seen.errors.push(format!("{} {}", exception["text"], exception["exception"]["description"]));
            }
            "Page.javascriptDialogOpening" => {
                seen.errors.push(format!("a window opened: {}", params["message"]));
                let tab = self.tab.clone();
                tokio::spawn(async move {
                    tab.send("Page.handleJavaScriptDialog", json!({ "accept": false })).await
                });
            }
            "Browser.downloadWillBegin" if params["frameId"] == *self.frame => {
                seen.saving.push((text(&params["guid"]), text(&params["suggestedFilename"])));
            }
            "Browser.downloadProgress" if params["state"] == "completed" => {
                let guid = text(&params["guid"]);
                if let Some(at) = seen.saving.iter().position(|(saving, _)| *saving == guid) {
                    let (guid, name) = seen.saving.remove(at);
                    seen.downloads.push(Download { name, path: self.folder.join(guid) });
                }
            }
            _ => {}
        }
    }
}

/// Passes a page's request on to the wallet, and its answer back, if the page is still there.
async fn serve(tab: Session, wallets: Vec<Wallet>, call: Value) -> anyhow::Result<()> {
    let script = answer(&wallets, &call["payload"]).await?;
    let params = json!({ "expression": script, "contextId": call["executionContextId"] });
    tab.send("Runtime.evaluate", params).await?;
    Ok(())
}

/// The script that tells the page what its wallet says to this.
async fn answer(wallets: &[Wallet], request: &Value) -> anyhow::Result<String> {
    let request: Value = serde_json::from_str(request.as_str().context("no request")?)?;
    let number = request["wallet"].as_u64().and_then(|number| usize::try_from(number).ok());
    let wallet = number.and_then(|number| wallets.get(number)).context("no such wallet")?;
    let method = request["method"].as_str().unwrap_or_default();
    let (error, result, told) = match wallet.answer(method, &request["params"]).await {
        Ok((result, told)) => (Value::Null, result, told),
        Err(Fault(code, message)) => (json!({ "code": code, "message": message }), Value::Null, None),
    };
    let mut script = String::new();
    if let Some((event, value)) = told {
        script = format!("__walletTells({}, {}, {value});", request["wallet"], json!(event));
    }
    script.push_str(&format!("__walletAnswers({}, {error}, {result})", request["id"]));
    Ok(script)
}

fn lock(seen: &Mutex<Conduct>) -> MutexGuard<'_, Conduct> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
