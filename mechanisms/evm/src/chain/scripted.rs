//! An endpoint that answers what a test tells it to.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use alloy::{
    providers::RootProvider,
    rpc::{
        client::RpcClient,
        json_rpc::{ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload},
    },
    transports::{TransportError, TransportErrorKind, TransportFut},
};
use serde_json::{Value, json, value::to_raw_value};
use tower_service::Service;

use super::transport::HttpFault;

/// What becomes of a call.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Is(Value),
    Error(i64, &'static str),
    Http(u16),
    NotConnected,
    Broken,
    Never,
}

type Script = dyn Fn(&str, &Value) -> Reply + Send + Sync;

#[derive(Clone)]
struct Scripted(Arc<Script>);

/// A provider whose calls this answers, by method and parameters.
pub(crate) fn provider(script: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> RootProvider {
    RootProvider::new(RpcClient::new(Scripted(Arc::new(script)), true))
}

impl Service<RequestPacket> for Scripted {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let RequestPacket::Single(request) = packet else { panic!("no batches") };
        let parameters = request.params().map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap());
        let reply = (self.0)(request.method(), &parameters);
        let id = request.id().clone();
        Box::pin(async move {
            let payload = match reply {
                Reply::Is(value) => ResponsePayload::Success(to_raw_value(&value).unwrap()),
                Reply::Error(code, message) => {
                    let error = json!({ "code": code, "message": message }).to_string();
                    ResponsePayload::Failure(serde_json::from_str::<ErrorPayload>(&error).unwrap())
                }
                Reply::Http(status) => return Err(TransportErrorKind::http_error(status, "words".into())),
                Reply::NotConnected => return Err(TransportErrorKind::custom(HttpFault::NotConnected)),
                Reply::Broken => return Err(TransportErrorKind::custom(HttpFault::Broken)),
                Reply::Never => std::future::pending().await,
            };
            Ok(ResponsePacket::Single(Response { id, payload }))
        })
    }
}
