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
    /// The languages read, as `Accept-Language` has them.
    pub language: &'static str,
    /// Prefers dark pages.
    pub dark: bool,
    /// On a phone.
    pub phone: bool,
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
            language: "en-US,en",
            dark: false,
            phone: false,
            still: true,
            scripts: true,
        }
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
    tab: Session,
    profile: String,
    seen: Arc<Mutex<Conduct>>,
    downloads: TempDir,
    _events: AbortOnDropHandle<()>,
    _connection: Connection,
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
        let visitor =
            Self { tab, profile: context, seen, downloads, _events: events, _connection: connection };
        visitor.set_up(&setup).await?;
        Ok(visitor)
    }

    pub(super) fn profile(&self) -> &str {
        &self.profile
    }

    async fn set_up(&self, setup: &Setup) -> anyhow::Result<()> {
        for domain in ["Page", "Runtime", "Network", "Audits"] {
            self.tab.send(&format!("{domain}.enable"), json!({})).await?;
        }
        let (width, height, scale) = if setup.phone { (390, 844, 2) } else { (1280, 800, 1) };
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": setup.phone });
        self.tab.send("Emulation.setDeviceMetricsOverride", screen).await?;
        let scheme = if setup.dark { "dark" } else { "light" };
        let motion = if setup.still { "reduce" } else { "no-preference" };
        let features = json!({ "features": [
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": motion },
        ]});
        self.tab.send("Emulation.setEmulatedMedia", features).await?;
        self.tab.send("Emulation.setFocusEmulationEnabled", json!({ "enabled": true })).await?;
        let agent = self.evaluate("navigator.userAgent").await?;
        let language = json!({ "userAgent": agent, "acceptLanguage": setup.language });
        self.tab.send("Emulation.setUserAgentOverride", language).await?;
        if !setup.wallets.is_empty() {
            self.tab.send("Runtime.addBinding", json!({ "name": "__wallet" })).await?;
            let wallets: Vec<_> = setup.wallets.iter().map(Wallet::info).collect();
            let source = include_str!("wallet.js").trim_end();
            let source = format!("{source}({}, {}, window.__wallet)", json!(wallets), setup.fallback);
            self.before_each_page(&source).await?;
        }
        if !setup.scripts {
            self.tab.send("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await?;
        }
        Ok(())
    }

    /// Runs a script in each page before its own.
    pub async fn before_each_page(&self, source: &str) -> anyhow::Result<()> {
        self.tab.send("Page.addScriptToEvaluateOnNewDocument", json!({ "source": source })).await?;
        Ok(())
    }

    /// Opens a page, and returns when it has loaded.
    pub async fn open(&self, url: &str) -> anyhow::Result<()> {
        self.leave_by("Page.navigate", json!({ "url": url })).await
    }

    /// Loads the page anew.
    pub async fn reload(&self) -> anyhow::Result<()> {
        self.leave_by("Page.reload", json!({})).await
    }

    async fn leave_by(&self, method: &str, params: Value) -> anyhow::Result<()> {
        self.evaluate("window.__left = true").await?;
        let answer = self.tab.send(method, params).await?;
        if let Some(error) = answer["errorText"].as_str() {
            bail!("the page does not open: {error}");
        }
        self.until(&format!("!window.__left && {COMPLETE}")).await
    }

    /// What an expression comes to in the page; a promise is waited for.
    pub async fn evaluate(&self, expression: &str) -> anyhow::Result<Value> {
        let params = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let mut answer = self.tab.send("Runtime.evaluate", params).await?;
        if let Some(exception) = answer.get("exceptionDetails") {
            bail!("{expression}: {}", exception["exception"]["description"].as_str().unwrap_or("failed"));
        }
        Ok(answer["result"]["value"].take())
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
        for count in 1..=times {
            for kind in ["mousePressed", "mouseReleased"] {
                let event = json!({
                    "type": kind, "x": at["x"], "y": at["y"], "button": "left", "clickCount": count,
                });
                self.tab.send("Input.dispatchMouseEvent", event).await?;
            }
        }
        Ok(())
    }

    /// Presses a key: `Tab`, `Enter`, ` ` or `Escape`.
    pub async fn press(&self, key: &str) -> anyhow::Result<()> {
        let (code, number, text) = match key {
            "Tab" => ("Tab", 9, ""),
            "Enter" => ("Enter", 13, "\r"),
            " " => ("Space", 32, " "),
            "Escape" => ("Escape", 27, ""),
            "ArrowDown" => ("ArrowDown", 40, ""),
            _ => bail!("no key {key:?}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({ "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.tab.send("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
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
        let answer = self.tab.send("Page.captureScreenshot", json!({ "format": "png" })).await?;
        Ok(BASE64_STANDARD.decode(answer["data"].as_str().context("no picture")?)?)
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
    let request: Value = serde_json::from_str(call["payload"].as_str().context("no payload")?)?;
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
    let params = json!({ "expression": script, "contextId": call["executionContextId"] });
    tab.send("Runtime.evaluate", params).await?;
    Ok(())
}

fn lock(seen: &Mutex<Conduct>) -> MutexGuard<'_, Conduct> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
