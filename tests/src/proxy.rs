//! A TCP proxy that does to connections what networks do, when it is told to: for HTTP/1.1, Redis and PostgreSQL alike.
//!
//! A fault strikes where the client says something in particular, like `eth_sendRawTransaction`, so that a test can have
//! it before one step and after another. What was hung goes on when the fault is lifted, as after a partition.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};
use tokio_util::task::AbortOnDropHandle;

use crate::serve::Counter;

/// What is done to a connection whose client said what the fault waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What was said arrives so much later.
    Latency(Duration),
    /// What was said does not arrive, every connection is reset, and none is taken any more.
    Down,
    /// What was said does not arrive, and the client hears that the connection was reset.
    ResetBefore,
    /// What was said arrives, and instead of the answer the client hears that the connection was reset.
    ResetAfter,
    /// What was said does not arrive, and nothing is heard, until the fault is lifted.
    Hang,
    /// So many bytes of the answer arrive, and the connection is closed.
    Cut(usize),
}

/// Where connections lead.
#[derive(Debug, Clone)]
pub enum Upstream {
    /// To an address.
    Tcp(SocketAddr),
    /// To a socket of this machine.
    Unix(PathBuf),
}

/// A proxy on a port of its own; it and its connections end when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct State {
    upstream: Upstream,
    armed: Mutex<Option<Armed>>,
    struck: Counter,
    /// Counts how often faults were lifted.
    lifted: watch::Sender<usize>,
    down: watch::Sender<bool>,
}

#[derive(Debug, Clone)]
struct Armed {
    fault: Fault,
    says: Vec<u8>,
    once: bool,
}

impl Proxy {
    /// Lets everything pass, for now.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn start(upstream: Upstream) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            upstream,
            armed: Mutex::default(),
            struck: Counter::default(),
            lifted: watch::Sender::new(0),
            down: watch::Sender::new(false),
        });
        let task = AbortOnDropHandle::new(tokio::spawn(serve(listener, address, state.clone())));
        Ok(Self { address, state, _task: task })
    }

    /// To a URL of an HTTP server, with an address for its host.
    ///
    /// # Errors
    /// When it is none.
    pub async fn to_http(url: &str) -> anyhow::Result<Self> {
        let address = url.strip_prefix("http://").context("no http URL")?.trim_end_matches('/').parse()?;
        Self::start(Upstream::Tcp(address)).await
    }

    /// To the URL of one of [`stores`](crate::stores), and the URL of the same through the proxy.
    ///
    /// # Errors
    /// When it is none.
    pub async fn to_store(url: &str) -> anyhow::Result<(Self, String)> {
        if let Some(socket) = url.strip_prefix("redis+unix://") {
            let proxy = Self::start(Upstream::Unix(socket.into())).await?;
            let url = format!("redis://{}", proxy.address);
            return Ok((proxy, url));
        }
        let (rest, folder) = url.split_once("?host=").context("no URL of a store")?;
        let (user, database) = rest.split_once("@localhost/").context("no URL of PostgreSQL")?;
        let socket = Path::new(folder).join(".s.PGSQL.5432");
        let proxy = Self::start(Upstream::Unix(socket)).await?;
        let url = format!("{user}@{}/{database}?sslmode=disable", proxy.address);
        Ok((proxy, url))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as the URL of an HTTP server.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does this whenever a client says `says`, in one piece of at most 64 KiB or across two; empty: whatever it says.
    pub fn inflict(&self, fault: Fault, says: &str) {
        self.arm(fault, says, false);
    }

    /// Does this when a client says `says` for the first time.
    pub fn inflict_once(&self, fault: Fault, says: &str) {
        self.arm(fault, says, true);
    }

    fn arm(&self, fault: Fault, says: &str, once: bool) {
        *self.state.armed() = Some(Armed { fault, says: says.into(), once });
    }

    /// No more of it: what hangs goes on, and what was down is up.
    pub fn lift(&self) {
        *self.state.armed() = None;
        self.state.down.send_replace(false);
        self.state.lifted.send_modify(|times| *times += 1);
    }

    /// How often faults struck.
    pub fn struck(&self) -> &Counter {
        &self.state.struck
    }
}

impl State {
    fn armed(&self) -> MutexGuard<'_, Option<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault that strikes who says this.
    fn strike(&self, said: &[u8]) -> Option<Fault> {
        let mut armed = self.armed();
        let Armed { fault, says, once } = armed.as_ref()?;
        if !says.is_empty() && !said.windows(says.len()).any(|window| window == says) {
            return None;
        }
        let fault = *fault;
        if *once {
            *armed = None;
        }
        self.struck.count();
        Some(fault)
    }

    /// How many bytes of what was said last may be the beginning of what is waited for.
    fn overlap(&self) -> usize {
        self.armed().as_ref().map_or(0, |armed| armed.says.len().saturating_sub(1))
    }
}

async fn serve(listener: TcpListener, address: SocketAddr, state: Arc<State>) {
    let mut down = state.down.subscribe();
    let mut listener = Some(listener);
    // Connections end with this.
    let mut connections = JoinSet::new();
    loop {
        let Some(open) = &listener else {
            becomes(&mut down, false).await;
            match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                // A client that calls again and again may hold the port as its own for a moment.
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
            continue;
        };
        tokio::select! {
            biased;
            () = becomes(&mut down, true) => listener = None,
            accepted = open.accept() => {
                if let Ok((client, _)) = accepted {
                    let state = state.clone();
                    connections.spawn(async move {
                        // A connection that breaks is what this is for.
                        let _ = connection(client, &state).await;
                    });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn becomes(down: &mut watch::Receiver<bool>, expected: bool) {
    // Fails only when the proxy goes.
    let _ = down.wait_for(|down| *down == expected).await;
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn connect(upstream: &Upstream) -> io::Result<Pin<Box<dyn Stream>>> {
    Ok(match upstream {
        Upstream::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::pin(stream)
        }
        Upstream::Unix(path) => Box::pin(UnixStream::connect(path).await?),
    })
}

/// What becomes of the answer.
enum Answer {
    Passes,
    Resets,
    /// After so many bytes.
    Ends(usize),
}

async fn connection(mut client: TcpStream, state: &State) -> io::Result<()> {
    client.set_nodelay(true)?;
    let Ok(mut upstream) = connect(&state.upstream).await else { return client.set_zero_linger() };
    let mut down = state.down.subscribe();
    let (mut said, mut kept) = (vec![0; 64 * 1024], 0);
    let mut answered = vec![0; 64 * 1024];
    let mut answer = Answer::Passes;
    loop {
        tokio::select! {
            biased;
            () = becomes(&mut down, true) => return client.set_zero_linger(),
            read = client.read(&mut said[kept..]) => {
                let end = kept + read?;
                if end == kept {
                    return Ok(());
                }
                match state.strike(&said[..end]) {
                    None => {}
                    Some(Fault::Latency(delay)) => sleep(delay).await,
                    Some(Fault::Down) => {
                        state.down.send_replace(true);
                        return client.set_zero_linger();
                    }
                    Some(Fault::ResetBefore) => return client.set_zero_linger(),
                    Some(Fault::ResetAfter) => answer = Answer::Resets,
                    Some(Fault::Hang) => {
                        let mut lifted = state.lifted.subscribe();
                        // Fails only when the proxy goes.
                        let _ = lifted.changed().await;
                    }
                    Some(Fault::Cut(bytes)) => answer = Answer::Ends(bytes),
                }
                upstream.write_all(&said[kept..end]).await?;
                let overlap = state.overlap().min(end).min(said.len() / 2);
                said.copy_within(end - overlap..end, 0);
                kept = overlap;
            }
            read = upstream.read(&mut answered) => {
                let bytes = &answered[..read?];
                if bytes.is_empty() {
                    return Ok(());
                }
                match &mut answer {
                    Answer::Passes => client.write_all(bytes).await?,
                    Answer::Resets => return client.set_zero_linger(),
                    Answer::Ends(left) => {
                        let passing = bytes.len().min(*left);
                        client.write_all(&bytes[..passing]).await?;
                        *left -= passing;
                        if *left == 0 {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    /// Answers every byte with `yes` and the byte, and counts what it hears.
    async fn echo() -> (SocketAddr, Counter, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Counter::default());
        let counter = heard.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let heard = counter.clone();
                tokio::spawn(async move {
                    while let Ok(byte) = stream.read_u8().await {
                        heard.count();
                        if stream.write_all(&[b'y', b'e', b's', byte]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (address, heard, AbortOnDropHandle::new(task))
    }

    async fn say(stream: &mut TcpStream, words: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(words).await?;
        let mut answer = vec![0; words.len() * 4];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn each_fault_strikes_where_it_is_told_and_nowhere_else() {
        let (upstream, heard, _echo) = echo().await;
        let proxy = Proxy::start(Upstream::Tcp(upstream)).await.unwrap();
        let connect = || TcpStream::connect(proxy.address());

        let mut stream = connect().await.unwrap();
        assert_eq!(say(&mut stream, b"a").await.unwrap(), b"yesa");
        for (fault, arrives) in [(Fault::ResetBefore, 0), (Fault::ResetAfter, 1)] {
            let mut stream = connect().await.unwrap();
            proxy.inflict(fault, "x");
            assert_eq!(say(&mut stream, b"a").await.unwrap(), b"yesa", "{fault:?}");
            let before = heard.get();
            let error = say(&mut stream, b"x").await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{fault:?}");
            assert_eq!(heard.get() - before, arrives, "{fault:?}");
        }
        proxy.inflict(Fault::Cut(2), "x");
        let mut stream = connect().await.unwrap();
        let error = say(&mut stream, b"x").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(proxy.struck().get(), 3);

        proxy.inflict(Fault::Latency(Duration::from_millis(50)), "x");
        let (mut stream, began) = (connect().await.unwrap(), Instant::now());
        assert_eq!(say(&mut stream, b"x").await.unwrap(), b"yesx");
        assert!(began.elapsed() >= Duration::from_millis(50));
    }

    #[tokio::test]
    async fn what_hangs_arrives_when_the_fault_is_lifted() {
        let (upstream, heard, _echo) = echo().await;
        let proxy = Proxy::start(Upstream::Tcp(upstream)).await.unwrap();
        proxy.inflict(Fault::Hang, "x");
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        proxy.struck().reaches(1).await;
        drop(stream);
        assert_eq!(heard.get(), 0);
        proxy.lift();
        timeout(Duration::from_secs(5), heard.reaches(1)).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_down_takes_no_connection_until_it_is_up() {
        let (upstream, heard, _echo) = echo().await;
        let proxy = Proxy::start(Upstream::Tcp(upstream)).await.unwrap();
        let mut other = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut other, b"a").await.unwrap(), b"yesa");
        proxy.inflict(Fault::Down, "x");
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(say(&mut stream, b"x").await.is_err());
        assert!(other.read_u8().await.is_err(), "all connections are reset");
        let refused = async { while TcpStream::connect(proxy.address()).await.is_ok() {} };
        timeout(Duration::from_secs(5), refused).await.unwrap();
        assert_eq!(heard.get(), 1);
        proxy.lift();
        let back = async {
            loop {
                let Ok(mut stream) = TcpStream::connect(proxy.address()).await else { continue };
                break say(&mut stream, b"x").await;
            }
        };
        assert_eq!(timeout(Duration::from_secs(5), back).await.unwrap().unwrap(), b"yesx");
    }

    #[tokio::test]
    async fn it_strikes_once_where_it_is_told_so_and_across_pieces() {
        let (upstream, _heard, _echo) = echo().await;
        let proxy = Proxy::start(Upstream::Tcp(upstream)).await.unwrap();
        proxy.inflict_once(Fault::ResetBefore, "stop");
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut stream, b"st").await.unwrap().len(), 8);
        assert!(say(&mut stream, b"op").await.is_err(), "it is said in two pieces");
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut stream, b"stop").await.unwrap().len(), 16);
        assert_eq!(proxy.struck().get(), 1);
    }
}
