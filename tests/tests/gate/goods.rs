//! What the shop sells, whatever the framework.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};
use tokio::sync::Notify;
use x402_core::{
    gate::{Charge, PaymentInfo, RouteTable, exact},
    network::BASE_SEPOLIA,
};
use x402_tests::serve::Counter;

/// Who sells.
pub const SELLER: &str = "0x209693Bc6afc0C5328bA36FaF03C514EF312287C";

/// What every handler of a paid route says, and nobody else.
pub const MARKER: &str = "sold:";

/// What the handler of this route says.
pub fn marker(route: &str) -> String {
    format!("{MARKER}{route};")
}

pub fn cent() -> Charge {
    exact("$0.01").on(BASE_SEPOLIA).to(SELLER)
}

pub fn dollar() -> Charge {
    exact("$1").on(BASE_SEPOLIA).to(SELLER)
}

/// A route, in axum's words, what it costs and what it gives.
#[derive(Clone)]
pub struct Shelf {
    pub path: &'static str,
    pub methods: Methods,
    pub charge: Option<Charge>,
    pub good: Good,
}

/// How the shop is put together.
#[derive(Clone)]
pub enum Stock {
    /// Each shelf with its own price on it.
    Priced(Vec<Shelf>),
    /// The same, all of them below `/api`.
    Nested(Vec<Shelf>),
    /// The shelves without a price, and a table for all of them.
    Listed(Vec<Shelf>, RouteTable),
    /// The same, all of them below `/api`; the table names them with it.
    NestedListed(Vec<Shelf>, RouteTable),
    /// One price on the whole of it, whatever is asked for.
    Whole(Vec<Shelf>, Charge),
    /// Each shelf with its own price on it; scripts of all origins may ask.
    Shared(Vec<Shelf>),
    /// The same, priced by a table that stands outside of what lets scripts ask.
    SharedInside(Vec<Shelf>, RouteTable),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    Any,
    Get,
    Post,
}

#[derive(Clone, Copy)]
pub enum Good {
    /// The marker of the route.
    Says(&'static str),
    /// Not to be paid for.
    Free,
    /// The marker all the same, with this status.
    Answers(&'static str, u16),
    /// The marker, and this status when it is asked for the second time.
    Twice(&'static str, u16),
    /// An error in the framework's own way, of this status.
    Errs(u16),
    Panics,
    /// The marker, once it is mended; a panic before.
    Mended,
    /// Three pieces.
    Stream,
    /// One piece, and then the source of the others fails.
    Breaks(&'static str),
    /// Two pieces, as it says before; one, the first time.
    Torn,
    /// As long as it says before; the first time it stops in the middle, for ever.
    Stalls,
    /// An event, and then nothing, for ever.
    Events,
    /// Two pieces and a trailer.
    Trailers,
    /// The marker, once it is [let go](Goods::let_go).
    Slow(&'static str),
    /// A marker that is this long.
    Long(usize),
    /// What was uploaded.
    Echo,
    /// What it is, with these headers.
    #[allow(dead_code, reason = "for people, who have a suite of their own: `tests/browser`")]
    Shows(&'static Exhibit),
    /// What any cache may keep, with a header that is for the gate alone.
    Cached,
    /// The second half.
    Range,
    /// A gRPC call that ended with this status before its first message.
    Grpc(&'static str),
    /// Says that it is not worth its price.
    Uncharged,
    /// What the handler learns of its payment, which it insists on.
    Who,
    /// Whether there was one.
    Maybe,
    /// A websocket that repeats what it hears.
    Socket,
}

/// What people look at.
pub struct Exhibit {
    pub headers: &'static [(&'static str, &'static str)],
    pub body: &'static [u8],
}

/// Everything the shop has.
pub fn shelves() -> Vec<Shelf> {
    use Good::*;
    use Methods::*;
    let first = || cent().settle_first();
    let shelf = |path, methods, charge: Charge, good| Shelf { path, methods, charge: Some(charge), good };
    let free = |path, methods, good| Shelf { path, methods, charge: None, good };
    vec![
        shelf("/cheap", Any, cent(), Says("/cheap")),
        shelf("/twin", Get, cent(), Says("/twin")),
        shelf("/dear", Get, dollar(), Says("/dear")),
        shelf("/dear/{id}", Get, dollar(), Says("/dear/{id}")),
        free("/free", Get, Free),
        shelf("/fails", Get, cent(), Answers("/fails", 500)),
        shelf("/missing", Get, cent(), Answers("/missing", 404)),
        shelf("/moved", Get, cent(), Answers("/moved", 302)),
        shelf("/unchanged", Get, cent(), Answers("/unchanged", 304)),
        shelf("/twice", Get, cent(), Twice("/twice", 409)),
        shelf("/errs", Get, cent(), Errs(404)),
        shelf("/panics", Get, cent(), Panics),
        shelf("/stream", Get, cent(), Stream),
        shelf("/breaks", Get, cent(), Breaks("/breaks")),
        shelf("/events", Get, cent(), Events),
        shelf("/trailers", Get, cent(), Trailers),
        shelf("/slow", Get, cent(), Slow("/slow")),
        shelf("/echo", Post, cent(), Echo),
        shelf("/cached", Get, cent(), Cached),
        shelf("/range", Get, cent(), Range),
        shelf("/grpc", Any, cent(), Grpc("0")),
        shelf("/grpc-missing", Any, cent(), Grpc("5")),
        shelf("/uncharged", Get, cent(), Uncharged),
        shelf("/who", Get, cent(), Who),
        shelf("/maybe", Get, cent(), Maybe),
        shelf("/socket", Get, cent(), Socket),
        shelf("/first", Get, first(), Says("/first")),
        shelf("/first-fails", Get, first(), Answers("/first-fails", 502)),
        shelf("/first-missing", Get, first(), Answers("/first-missing", 404)),
        shelf("/first-late", Get, first(), Answers("/first-late", 408)),
        shelf("/first-moved", Get, first(), Answers("/first-moved", 302)),
        shelf("/first-errs", Get, first(), Errs(404)),
        shelf("/first-breaks", Get, first(), Errs(503)),
        shelf("/first-panics", Get, first(), Panics),
        shelf("/first-mended", Get, first(), Mended),
        shelf("/first-slow", Get, first(), Slow("/first-slow")),
        shelf("/first-grpc-missing", Any, first(), Grpc("5")),
        shelf("/first-grpc-breaks", Any, first(), Grpc("13")),
        shelf("/first-uncharged", Get, first(), Uncharged),
        shelf("/first-who", Get, first(), Who),
        // As a careless operator has it: handlers that know of payments, and nobody who takes them.
        free("/bare-who", Get, Who),
        free("/bare-maybe", Get, Maybe),
    ]
}

/// The shop without its prices, as a table finds it.
pub fn unpriced() -> Vec<Shelf> {
    ["/cheap", "/dear", "/dear/{id}", "/free"]
        .map(of_everything)
        .map(|shelf| Shelf { charge: None, ..shelf })
        .into()
}

/// A shelf of the whole shop.
pub fn of_everything(path: &str) -> Shelf {
    shelves().into_iter().find(|shelf| shelf.path == path).unwrap()
}

/// What handlers are made of.
#[derive(Clone, Default)]
pub struct Goods {
    /// How often handlers of paid routes ran.
    pub visits: Counter,
    /// How often a streamed body was polled.
    pub polls: Counter,
    /// Whether what was broken is mended.
    pub mended: Arc<AtomicBool>,
    /// Lets one slow handler answer.
    pub let_go: Arc<Notify>,
}

/// An answer, before a framework has it.
pub struct Reply {
    pub status: StatusCode,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: ReplyBody,
    pub uncharged: bool,
}

pub enum ReplyBody {
    Whole(Bytes),
    Pieces(Pieces),
}

impl Reply {
    fn new(body: impl Into<ReplyBody>) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), body: body.into(), uncharged: false }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl From<String> for ReplyBody {
    fn from(text: String) -> Self {
        Self::Whole(text.into())
    }
}

impl From<&'static [u8]> for ReplyBody {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Whole(Bytes::from_static(bytes))
    }
}

impl From<Pieces> for ReplyBody {
    fn from(pieces: Pieces) -> Self {
        Self::Pieces(pieces)
    }
}

impl Goods {
    /// What a handler does that needs nothing of its request. An error is for the framework to tell in its own way.
    pub async fn make(self, good: Good) -> Result<Reply, StatusCode> {
        if !matches!(good, Good::Free) {
            self.visits.count();
        }
        let pieces = |left, text: &str, last| Pieces {
            polls: self.polls.clone(),
            left,
            text: text.to_owned(),
            last,
            length: None,
        };
        Ok(match good {
            Good::Says(route) => Reply::new(marker(route)),
            Good::Free => Reply::new("free for all".to_owned()),
            Good::Answers(route, status) => {
                let status = StatusCode::from_u16(status).unwrap();
                Reply { status, ..Reply::new(marker(route)).with("location", "/free") }
            }
            Good::Twice(route, status) => {
                let status = if self.visits.get() == 2 { status } else { 200 };
                Reply { status: StatusCode::from_u16(status).unwrap(), ..Reply::new(marker(route)) }
            }
            Good::Errs(status) => return Err(StatusCode::from_u16(status).unwrap()),
            Good::Panics => panic!("the handler panics, as it should"),
            Good::Mended => {
                assert!(self.mended.load(Ordering::SeqCst), "the handler panics, as it should");
                Reply::new(marker("/first-mended"))
            }
            Good::Stream => Reply::new(pieces(3, &marker("/stream"), Last::End)),
            Good::Breaks(route) => Reply::new(pieces(1, &marker(route), Last::Failure)),
            Good::Torn => {
                let (text, left) = (marker("/torn"), if self.visits.get() == 1 { 1 } else { 2 });
                let length = Some(2 * text.len() as u64);
                Reply::new(Pieces { length, ..pieces(left, &text, Last::End) })
            }
            Good::Stalls => {
                let (text, first) = (marker("/stalls"), self.visits.get() == 1);
                let (left, last) = if first { (1, Last::Never) } else { (2, Last::End) };
                let length = Some(2 * text.len() as u64);
                Reply::new(Pieces { length, ..pieces(left, &text, last) })
            }
            Good::Events => {
                let event = format!("data: {}\n\n", marker("/events"));
                Reply::new(pieces(1, &event, Last::Never)).with("content-type", "text/event-stream")
            }
            Good::Trailers => {
                Reply::new(pieces(2, &marker("/trailers"), Last::Trailer)).with("trailer", "x-sum")
            }
            Good::Long(bytes) => Reply::new(marker("/long") + &" ".repeat(bytes - marker("/long").len())),
            Good::Slow(route) => {
                self.let_go.notified().await;
                Reply::new(marker(route))
            }
            Good::Shows(Exhibit { headers, body }) => {
                Reply { headers: headers.to_vec(), ..Reply::new(*body) }
            }
            Good::Cached => {
                let reply = Reply::new(marker("/cached")).with("cache-control", "public, max-age=60");
                let reply = reply.with("cdn-cache-control", "public").with("surrogate-control", "max-age=60");
                let reply = reply.with("x-hop", "1").with("x-stays", "1");
                reply.with("settlement-overrides", "{}").with("set-cookie", "a=1").with("set-cookie", "b=2")
            }
            Good::Range => {
                let reply = Reply::new(marker("/range")).with("content-range", "bytes 13-25/26");
                Reply { status: StatusCode::PARTIAL_CONTENT, ..reply }
            }
            Good::Grpc(status) => {
                Reply::new(String::new()).with("content-type", "application/grpc").with("grpc-status", status)
            }
            Good::Uncharged => {
                let reply = Reply::new("nothing new".to_owned()).with("cache-control", "public, max-age=60");
                Reply { uncharged: true, ..reply }
            }
            Good::Echo | Good::Who | Good::Maybe | Good::Socket => unreachable!("needs its request"),
        })
    }

    /// What a handler says that was told of its payment.
    pub fn who(&self, payment: &PaymentInfo) -> String {
        let receipt = payment.receipt().and_then(|receipt| receipt.transaction.as_ref());
        format!(
            "{} {} {} {} {} {:?} {}",
            marker("/who"),
            payment.payer(),
            payment.network(),
            payment.amount(),
            payment.asset(),
            payment.version(),
            receipt.map_or("none", |transaction| transaction.as_str()),
        )
    }

    /// What a handler says to an upload.
    pub fn echo(&self, body: &[u8]) -> String {
        self.visits.count();
        format!("{}{}", marker("/echo"), String::from_utf8_lossy(body))
    }
}

/// A body in pieces that counts how often it is polled.
pub struct Pieces {
    polls: Counter,
    left: usize,
    text: String,
    last: Last,
    /// How long it says it is.
    pub length: Option<u64>,
}

/// What comes after the pieces.
#[derive(Clone, Copy)]
enum Last {
    End,
    Never,
    Trailer,
    Failure,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.polls.count();
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from(self.text.clone())))));
        }
        match self.last {
            Last::End => Poll::Ready(None),
            Last::Never => Poll::Pending,
            Last::Failure => Poll::Ready(Some(Err(io::Error::other("the source fails, as it should")))),
            Last::Trailer => {
                self.last = Last::End;
                let trailers = [(http::HeaderName::from_static("x-sum"), HeaderValue::from_static("42"))];
                Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::from_iter(trailers)))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The same for frameworks whose bodies are streams: they have no trailers.
impl Stream for Pieces {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let frame = std::task::ready!(http_body::Body::poll_frame(self, cx));
        Poll::Ready(frame.and_then(|frame| frame.map(|frame| frame.into_data().ok()).transpose()))
    }
}
