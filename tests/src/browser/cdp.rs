//! The DevTools protocol: commands and events as JSON over one websocket.

use std::collections::HashMap;

use anyhow::{Context, anyhow};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};
use tokio_util::task::AbortOnDropHandle;

/// What the browser tells without being asked.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) method: String,
    pub(super) params: Value,
}

type Reply = oneshot::Sender<anyhow::Result<Value>>;

/// A connection to the browser; what was made over it goes with it.
#[derive(Debug)]
pub(super) struct Connection {
    commands: mpsc::UnboundedSender<(Value, Reply)>,
    events: Option<mpsc::UnboundedReceiver<Event>>,
    _task: AbortOnDropHandle<()>,
}

impl Connection {
    pub(super) async fn open(port: u16, path: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.context("the browser is gone")?;
        let (socket, _) = client_async(format!("ws://127.0.0.1:{port}{path}"), stream).await?;
        let (commands, asked) = mpsc::unbounded_channel();
        let (tell, events) = mpsc::unbounded_channel();
        let task = AbortOnDropHandle::new(tokio::spawn(converse(socket, asked, tell)));
        Ok(Self { commands, events: Some(events), _task: task })
    }

    /// What the browser tells, for the one who asks first.
    pub(super) fn events(&mut self) -> anyhow::Result<mpsc::UnboundedReceiver<Event>> {
        self.events.take().context("the events are taken")
    }

    /// Speaks to the browser, or to one of its tabs.
    pub(super) fn session(&self, id: Option<&str>) -> Session {
        Session { commands: self.commands.clone(), id: id.map(str::to_owned) }
    }
}

/// Whom commands go to.
#[derive(Debug, Clone)]
pub(super) struct Session {
    commands: mpsc::UnboundedSender<(Value, Reply)>,
    id: Option<String>,
}

impl Session {
    pub(super) async fn send(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        let mut command = json!({ "method": method, "params": params });
        if let Some(id) = &self.id {
            command["sessionId"] = id.as_str().into();
        }
        let (reply, answer) = oneshot::channel();
        self.commands.send((command, reply)).ok().context("the browser is gone")?;
        answer.await.context("the browser is gone")?.with_context(|| format!("{method} failed"))
    }
}

async fn converse(
    mut socket: WebSocketStream<TcpStream>,
    mut asked: mpsc::UnboundedReceiver<(Value, Reply)>,
    tell: mpsc::UnboundedSender<Event>,
) {
    let mut waiting = HashMap::<u64, Reply>::new();
    let mut last = 0;
    loop {
        tokio::select! {
            command = asked.recv() => {
                let Some((mut command, reply)) = command else { return };
                last += 1;
                command["id"] = last.into();
                waiting.insert(last, reply);
                if socket.send(Message::text(command.to_string())).await.is_err() {
                    return;
                }
            }
            message = socket.next() => {
                let Some(Ok(message)) = message else { return };
                let Ok(mut message) = serde_json::from_slice::<Value>(&message.into_data()) else { continue };
                let reply = message["id"].as_u64().and_then(|id| waiting.remove(&id));
                if let Some(reply) = reply {
                    let answer = match message.get("error") {
                        Some(error) => Err(anyhow!("{error}")),
                        None => Ok(message["result"].take()),
                    };
                    let _ = reply.send(answer); // the one who asked may have gone
                } else if let Some(method) = message["method"].as_str() {
                    let _ = tell.send(Event { method: method.to_owned(), params: message["params"].take() });
                }
            }
        }
    }
}
