//! A tab, in the words of the browser that has it.

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::{cdp::Session, firefox};

/// One tab of a browser.
#[derive(Debug, Clone)]
pub(super) enum Tab {
    /// Spoken to over the DevTools protocol.
    Chromium(Session),
    /// Spoken to over WebDriver BiDi.
    Firefox(firefox::Tab),
}

impl Tab {
    /// Runs a script in each page before its own.
    pub(super) async fn before_each_page(&self, source: &str) -> anyhow::Result<()> {
        match self {
            Self::Chromium(tab) => {
                tab.send("Page.addScriptToEvaluateOnNewDocument", json!({ "source": source })).await?;
                Ok(())
            }
            Self::Firefox(tab) => tab.before_each_page(&format!("() => {{ {source} }}"), json!([])).await,
        }
    }

    /// What an expression comes to in the page; a promise is waited for.
    pub(super) async fn evaluate(&self, expression: &str) -> anyhow::Result<Value> {
        let tab = match self {
            Self::Chromium(tab) => tab,
            Self::Firefox(tab) => return tab.evaluate(expression).await,
        };
        let params = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let mut answer = tab.send("Runtime.evaluate", params).await?;
        if let Some(exception) = answer.get("exceptionDetails") {
            bail!("{expression}: {}", exception["exception"]["description"].as_str().unwrap_or("failed"));
        }
        Ok(answer["result"]["value"].take())
    }

    /// Leaves for another page, or for the same one anew.
    pub(super) async fn leave(&self, url: Option<&str>) -> anyhow::Result<()> {
        match (self, url) {
            (Self::Chromium(tab), Some(url)) => {
                let answer = tab.send("Page.navigate", json!({ "url": url })).await?;
                if let Some(error) = answer["errorText"].as_str() {
                    bail!("the page does not open: {error}");
                }
            }
            (Self::Chromium(tab), None) => drop(tab.send("Page.reload", json!({})).await?),
            (Self::Firefox(tab), Some(url)) => {
                tab.send("browsingContext.navigate", json!({ "url": url, "wait": "none" })).await?;
            }
            (Self::Firefox(tab), None) => {
                tab.send("browsingContext.reload", json!({ "wait": "none" })).await?;
            }
        }
        Ok(())
    }

    /// Clicks there, so many times.
    pub(super) async fn click(&self, x: &Value, y: &Value, times: usize) -> anyhow::Result<()> {
        let tab = match self {
            Self::Chromium(tab) => tab,
            Self::Firefox(tab) => {
                let [down, up] =
                    ["pointerDown", "pointerUp"].map(|kind| json!({ "type": kind, "button": 0 }));
                let whole = |at: &Value| at.as_f64().unwrap_or_default().round();
                let mut steps = vec![json!({ "type": "pointerMove", "x": whole(x), "y": whole(y) })];
                for _ in 0..times {
                    steps.extend([down.clone(), up.clone()]);
                }
                return tab.act(&json!({ "type": "pointer", "id": "mouse", "actions": steps })).await;
            }
        };
        for count in 1..=times {
            for kind in ["mousePressed", "mouseReleased"] {
                let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": count });
                tab.send("Input.dispatchMouseEvent", event).await?;
            }
        }
        Ok(())
    }

    /// Presses a key: `Tab`, `Enter`, ` `, `Escape` or `ArrowDown`.
    pub(super) async fn press(&self, key: &str) -> anyhow::Result<()> {
        // The last is what WebDriver calls it.
        let (code, number, text, value) = match key {
            "Tab" => ("Tab", 9, "", "\u{e004}"),
            "Enter" => ("Enter", 13, "\r", "\u{e007}"),
            " " => ("Space", 32, " ", " "),
            "Escape" => ("Escape", 27, "", "\u{e00c}"),
            "ArrowDown" => ("ArrowDown", 40, "", "\u{e015}"),
            _ => bail!("no key {key:?}"),
        };
        let tab = match self {
            Self::Chromium(tab) => tab,
            Self::Firefox(tab) => {
                let steps = ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": value }));
                return tab.act(&json!({ "type": "key", "id": "keys", "actions": steps })).await;
            }
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({ "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            tab.send("Input.dispatchKeyEvent", event).await?;
        }
        Ok(())
    }

    /// What is to be seen, as PNG in base64.
    pub(super) async fn picture(&self) -> anyhow::Result<String> {
        let answer = match self {
            Self::Chromium(tab) => tab.send("Page.captureScreenshot", json!({ "format": "png" })).await?,
            Self::Firefox(tab) => tab.send("browsingContext.captureScreenshot", json!({})).await?,
        };
        Ok(answer["data"].as_str().context("no picture")?.to_owned())
    }
}
