//! Firefox, spoken to over WebDriver BiDi, which it speaks by itself.
//!
//! It takes one connection, so all tabs share it: it lives in a thread of its own, outlives the case that came first, and
//! tells each tab what is about it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
};

use super::cdp::{Connection, Event, Session};

/// The channel on which a page speaks to the wallet.
pub(super) const WALLET: &str = "wallet";

/// Whom to tell what is about a tab.
type Listeners = Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Event>>>>;

/// The connection to the browser.
#[derive(Debug, Clone)]
pub(super) struct Firefox {
    session: Session,
    listeners: Listeners,
}

/// One of its tabs.
#[derive(Debug, Clone)]
pub(super) struct Tab {
    session: Session,
    context: String,
}

impl Firefox {
    pub(super) async fn connect(port: u16) -> anyhow::Result<Self> {
        let listeners = Listeners::default();
        let (tell, told) = oneshot::channel();
        let known = listeners.clone();
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(converse(port, &known, tell));
        });
        let session = told.await.context("the browser is gone")??;
        let wanted = json!({ "alwaysMatch": { "unhandledPromptBehavior": { "default": "dismiss" } } });
        session.send("session.new", json!({ "capabilities": wanted })).await?;
        let events = [
            "log.entryAdded",
            "network.beforeRequestSent",
            "script.message",
            "browsingContext.downloadWillBegin",
            "browsingContext.downloadEnd",
            "browsingContext.userPromptOpened",
        ];
        session.send("session.subscribe", json!({ "events": events })).await?;
        Ok(Self { session, listeners })
    }

    /// A new profile.
    pub(super) async fn profile(&self) -> anyhow::Result<String> {
        let created = self.session.send("browser.createUserContext", json!({})).await?;
        Ok(created["userContext"].as_str().context("no profile")?.to_owned())
    }

    /// A new tab of this profile, and what will be told of it.
    pub(super) async fn tab(
        &self,
        profile: &str,
        downloads: &std::path::Path,
        (width, height): (u32, u32),
    ) -> anyhow::Result<(Tab, mpsc::UnboundedReceiver<Event>)> {
        let created = json!({ "type": "tab", "userContext": profile });
        let created = self.session.send("browsingContext.create", created).await?;
        let context = created["context"].as_str().context("no tab")?.to_owned();
        let (tell, events) = mpsc::unbounded_channel();
        lock(&self.listeners).insert(context.clone(), tell);
        let saved = json!({ "type": "allowed", "destinationFolder": downloads });
        let saved = json!({ "downloadBehavior": saved, "userContexts": [profile] });
        self.session.send("browser.setDownloadBehavior", saved).await?;
        let tab = Tab { session: self.session.clone(), context };
        let size = json!({ "viewport": { "width": width, "height": height } });
        tab.send("browsingContext.setViewport", size).await?;
        Ok((tab, events))
    }
}

async fn converse(port: u16, listeners: &Listeners, tell: oneshot::Sender<anyhow::Result<Session>>) {
    let opened = Connection::open(port, "/session").await.and_then(|mut connection| {
        let events = connection.events()?;
        Ok((connection, events))
    });
    let (connection, mut events) = match opened {
        Ok(opened) => opened,
        Err(error) => return drop(tell.send(Err(error))),
    };
    let _ = tell.send(Ok(connection.session(None))); // the one who asked may have gone
    while let Some(event) = events.recv().await {
        let Event { params, .. } = &event;
        let Some(context) = params["context"].as_str().or_else(|| params["source"]["context"].as_str())
        else {
            continue;
        };
        let mut listeners = lock(listeners);
        if let Some(listener) = listeners.get(context) {
            let _ = listener.send(event); // its visitor may have left
        }
        listeners.retain(|_, listener| !listener.is_closed());
    }
}

impl Tab {
    /// A command about this tab.
    pub(super) async fn send(&self, method: &str, mut params: Value) -> anyhow::Result<Value> {
        params["context"] = self.context.as_str().into();
        self.session.send(method, params).await
    }

    /// Runs a function in each page before its scripts.
    pub(super) async fn before_each_page(&self, function: &str, arguments: Value) -> anyhow::Result<()> {
        let script =
            json!({ "functionDeclaration": function, "arguments": arguments, "contexts": [self.context] });
        self.session.send("script.addPreloadScript", script).await?;
        Ok(())
    }

    pub(super) async fn evaluate(&self, expression: &str) -> anyhow::Result<Value> {
        self.evaluate_in(expression, &json!({ "context": self.context })).await
    }

    /// The same in a page that is perhaps no longer there.
    pub(super) async fn evaluate_in(&self, expression: &str, target: &Value) -> anyhow::Result<Value> {
        let params = json!({
            "expression": expression, "target": target, "awaitPromise": true, "userActivation": true,
            "serializationOptions": { "maxObjectDepth": null, "maxDomDepth": 0 },
        });
        let answer = self.session.send("script.evaluate", params).await?;
        if let Some(exception) = answer.get("exceptionDetails") {
            bail!("{expression}: {}", exception["text"].as_str().unwrap_or("failed"));
        }
        Ok(json_of(&answer["result"]))
    }

    /// Does this with the mouse or the keyboard.
    pub(super) async fn act(&self, source: &Value) -> anyhow::Result<()> {
        self.send("input.performActions", json!({ "actions": [source] })).await?;
        Ok(())
    }
}

/// WebDriver's way to write a value, as JSON has it; what JSON cannot say is null.
fn json_of(remote: &Value) -> Value {
    let value = &remote["value"];
    let all = || value.as_array().into_iter().flatten();
    match remote["type"].as_str().unwrap_or_default() {
        "string" | "number" | "boolean" => value.clone(),
        "array" => all().map(json_of).collect(),
        "object" => {
            let entry = |pair: &Value| Some((pair[0].as_str()?.to_owned(), json_of(&pair[1])));
            Value::Object(all().filter_map(entry).collect::<Map<_, _>>())
        }
        _ => Value::Null,
    }
}

fn lock(listeners: &Listeners) -> MutexGuard<'_, HashMap<String, mpsc::UnboundedSender<Event>>> {
    listeners.lock().unwrap_or_else(PoisonError::into_inner)
}
