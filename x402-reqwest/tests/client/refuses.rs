//! What a client does not pay, and what it says then.

use crate::support::{PAYEE, Seen, Server, USDC, Wallet, a_cent, answer, builder, demand, offer, option};
use axum::response::Response;
use x402_core::{
    address::Address,
    amount::Amount,
    network::{BASE, BASE_SEPOLIA, Network},
    payment::{PaymentRequired, PaymentRequirements, Version},
    wire::PAYMENT_REQUIRED,
};
use x402_reqwest::{Builder, Capped, Client, DeclinedBecause, Error, ErrorKind};

const USDM: &str = "0xFAfDdbb3FC7688494971a79cc65DCa3EF82079E7";
/// 2^256 - 1
const MOST: &str = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
const STRANGER: &str = "0x000000000000000000000000000000000000dEaD";

type Build = fn(Builder<Client, Capped>) -> Builder<Client, Capped>;

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn in_token(network: Network, asset: &str, amount: &str) -> PaymentRequirements {
    PaymentRequirements { network, asset: address(asset), amount: amount.parse().unwrap(), ..option(0) }
}

fn with_extra(key: &str, value: &str) -> PaymentRequirements {
    let mut option = option(1);
    option.extra.insert(key.to_owned(), value.into());
    option
}

#[tokio::test]
async fn limits_hold_to_the_atomic_unit() {
    let usdm = |amount| in_token(Network::evm(4326), USDM, amount);
    let stranger = |amount| in_token(BASE_SEPOLIA, STRANGER, amount);
    let plain: Build = |builder| builder;
    let allowing: Build = |builder| builder.allow_token(BASE_SEPOLIA, address(STRANGER), Amount::from(500));
    let stricter: Build = |builder| builder.allow_token(BASE_SEPOLIA, address(USDC), Amount::from(500));
    let table: Vec<(&str, Build, PaymentRequirements, Option<&str>)> = vec![
        ("the cap exactly", plain, option(100_000), None),
        (
            "one more",
            plain,
            option(100_001),
            Some("it asks $0.100001 of USDC on eip155:84532, your cap is $0.1"),
        ),
        ("the most there is", plain, in_token(BASE_SEPOLIA, USDC, MOST), Some("your cap is $0.1")),
        ("18 decimals, the cap exactly", plain, usdm("100000000000000000"), None),
        (
            "18 decimals, one more",
            plain,
            usdm("100000000000000001"),
            Some("it asks $0.100000000000000001 of USDm on eip155:4326, your cap is $0.1"),
        ),
        (
            "18 decimals, a fortune",
            plain,
            usdm("100000000000000000000"),
            Some("it asks $100 of USDm on eip155:4326, your cap is $0.1"),
        ),
        ("an unknown token", plain, stranger("1"), Some("allow_token")),
        ("a known token of another chain", plain, in_token(BASE, USDC, "1"), Some("allow_token")),
        ("an allowed token", allowing, stranger("500"), None),
        ("an allowed token, one more", allowing, stranger("501"), Some("your cap is 500 atomic units")),
        ("a known token with its own cap", stricter, option(501), Some("your cap is $0.0005")),
        ("another network", |b| b.networks([BASE]), option(1), Some("the network is not among")),
        ("this network", |b| b.networks([BASE]).networks([BASE_SEPOLIA]), option(1), None),
        ("no network at all", |b| b.networks([]), option(1), Some("the network is not among")),
        ("another asset", |b| b.assets([address(USDM)]), option(1), Some("the token is not among")),
        ("this asset", |b| b.assets([address(&USDC.to_lowercase())]), option(1), None),
        ("another payee", |b| b.pay_to([address(STRANGER)]), option(1), Some(PAYEE)),
        ("this payee", |b| b.pay_to([address(PAYEE)]), option(1), None),
        ("another host", |b| b.hosts(["api.example.com"]), option(1), Some("not among the hosts")),
        ("this host", |b| b.hosts(["127.0.0.1"]), option(1), None),
        (
            "no scheme",
            plain,
            PaymentRequirements { scheme: "up\nto".into(), ..option(1) },
            Some("pays \"up\\nto\""),
        ),
        ("not this scheme's", plain, with_extra("assetTransferMethod", "permit2"), Some("only eip3009")),
        ("a failing signature", plain, with_extra("unsignable", "yes"), Some("could not be signed")),
        ("a choosy selector", |b| b.selector(|_| None), option(1), Some("the selector chose none of 1")),
        ("a wild selector", |b| b.selector(|_| Some(7)), option(1), Some("the selector chose none of 1")),
    ];
    for (name, build, option, refusal) in table {
        let wallet = Wallet::default();
        let server = Server::selling(offer(Version::V2, vec![option])).await;
        let url = server.url("/reports/7?token=secret");
        let answer = build(builder(&wallet)).build().unwrap().get(url).send().await;
        match (answer, refusal) {
            (Ok(response), None) => assert_eq!(response.status(), 200, "{name}"),
            (Err(error), Some(words)) => {
                assert!(error.to_string().contains(words), "{name}: {error}");
                let place = server.url("/reports/7 ");
                assert!(error.to_string().contains(place.trim_end()), "{name}: {error}");
                assert!(!error.to_string().contains("secret"), "{name}: {error}");
                assert_eq!((wallet.signatures(), server.payments().len()), (0, 0), "{name}");
            }
            (Ok(_), Some(_)) => panic!("{name}: was paid"),
            (Err(error), None) => panic!("{name}: {error}"),
        }
    }
}

#[tokio::test]
async fn every_option_is_declined_for_its_own_reason() {
    let mut theirs = option(1);
    theirs.pay_to = address(STRANGER);
    let accepts = vec![option(200_000), in_token(BASE_SEPOLIA, STRANGER, "1"), theirs];
    let server = Server::selling(offer(Version::V2, accepts.clone())).await;
    let client = builder(&Wallet::default()).pay_to([address(PAYEE)]).build().unwrap();
    let error = client.get(server.url("/")).send().await.unwrap_err();
    let error = Error::within(&error).unwrap();
    assert_eq!(error.kind(), ErrorKind::Declined);
    let [dear, unknown, swapped] = error.declined() else { panic!("three options") };
    assert!(matches!(dear.because, DeclinedBecause::OverCap { .. }));
    assert!(matches!(unknown.because, DeclinedBecause::UnknownToken));
    assert!(matches!(swapped.because, DeclinedBecause::PayTo(_)));
    assert_eq!(swapped.requirements.as_ref(), Some(&accepts[2]));
}

fn with_headers(values: &[&str]) -> Response {
    let mut response = answer(402, "{}");
    for value in values {
        response.headers_mut().append(PAYMENT_REQUIRED, value.parse().unwrap());
    }
    response
}

#[tokio::test]
async fn an_offer_that_cannot_be_read_is_an_error() {
    let good = || demand(&a_cent()).headers()[PAYMENT_REQUIRED].to_str().unwrap().to_owned();
    let other = || {
        demand(&offer(Version::V2, vec![option(1)])).headers()[PAYMENT_REQUIRED].to_str().unwrap().to_owned()
    };
    let huge = format!("{{\"x402Version\":1,\"padding\":\"{}\"}}", "x".repeat(1024 * 1024));
    let table: Vec<(&str, Response, ErrorKind, &str)> = vec![
        ("no base64", with_headers(&["???"]), ErrorKind::MalformedOffer, "base64"),
        ("an empty header", with_headers(&[""]), ErrorKind::MalformedOffer, "PAYMENT-REQUIRED"),
        ("no JSON", with_headers(&["AAAA"]), ErrorKind::MalformedOffer, "JSON"),
        ("two headers", with_headers(&[&good(), &other()]), ErrorKind::MalformedOffer, "several"),
        ("a long header", with_headers(&[&"A".repeat(20_000)]), ErrorKind::MalformedOffer, "longer"),
        (
            "an unknown version",
            with_headers(&["eyJ4NDAyVmVyc2lvbiI6MywiYWNjZXB0cyI6W119"]),
            ErrorKind::MalformedOffer,
            "3",
        ),
        ("a long body", answer(402, huge), ErrorKind::MalformedOffer, "longer than 1048576"),
        ("half a body", answer(402, "{\"x402Version\":1,"), ErrorKind::MalformedOffer, "JSON"),
        ("no options in a body", answer(402, "{\"x402Version\":1}"), ErrorKind::MalformedOffer, "accepts"),
        (
            "no option in a body",
            answer(402, "{\"x402Version\":1,\"accepts\":[]}"),
            ErrorKind::Declined,
            "offers no way to pay",
        ),
        (
            "a key twice",
            answer(402, "{\"x402Version\":1,\"x402Version\":1}"),
            ErrorKind::MalformedOffer,
            "twice",
        ),
        ("half an offer in a body", answer(402, "{\"x402Version\":2}"), ErrorKind::MalformedOffer, "accepts"),
        ("no option", demand(&offer(Version::V2, vec![])), ErrorKind::Declined, "offers no way to pay"),
    ];
    for (name, response, kind, words) in table {
        let wallet = Wallet::default();
        let response = std::sync::Mutex::new(Some(response));
        let server = Server::start(move |_| response.lock().unwrap().take().expect("one request")).await;
        let error = builder(&wallet).build().unwrap().get(server.url("/")).send().await.unwrap_err();
        let found = Error::within(&error).unwrap_or_else(|| panic!("{name}: {error}"));
        assert_eq!(found.kind(), kind, "{name}: {error}");
        assert!(found.to_string().contains(words), "{name}: {error}");
        assert_eq!(wallet.signatures(), 0, "{name}");
    }
}

fn always(offer: PaymentRequired) -> impl Fn(&Seen) -> Response {
    move |_| demand(&offer)
}

#[tokio::test]
async fn a_stream_is_not_paid_for() {
    let stream = || reqwest::Body::wrap("streamed".to_owned());
    let wallet = Wallet::default();
    let client = builder(&wallet).build().unwrap();

    let server = Server::start(always(a_cent())).await;
    let error = client.post(server.url("/")).body(stream()).send().await.unwrap_err();
    assert_eq!(Error::within(&error).unwrap().kind(), ErrorKind::BodyNotReplayable);

    let server = Server::start(always(offer(Version::V2, vec![option(100_001)]))).await;
    let error = client.post(server.url("/")).body(stream()).send().await.unwrap_err();
    assert_eq!(Error::within(&error).unwrap().kind(), ErrorKind::Declined);

    let server = Server::start(|seen| answer(200, seen.body.clone())).await;
    let response = client.post(server.url("/")).body(stream()).send().await.unwrap();
    assert_eq!(response.text().await.unwrap(), "streamed");
    assert_eq!(wallet.signatures(), 0);
}

#[tokio::test]
async fn clear_text_is_not_paid_over() {
    let server = Server::selling(a_cent()).await;
    let port = server.origin.rsplit(':').next().unwrap().to_owned();
    let url = format!("http://shop.example:{port}/");
    let wallet = Wallet::default();
    let attach = |payments: x402_reqwest::PaymentMiddleware| {
        let client = reqwest::Client::builder().resolve("shop.example", server.origin[7..].parse().unwrap());
        payments.attach(client).unwrap().build()
    };
    let payments =
        || x402_reqwest::PaymentMiddleware::builder().scheme(wallet.clone()).max_per_request("$0.10");

    let error = attach(payments().build().unwrap()).get(&url).send().await.unwrap_err();
    assert_eq!(Error::within(&error).unwrap().kind(), ErrorKind::Origin);
    assert_eq!(wallet.signatures(), 0);

    let response = attach(payments().allow_plain_http().build().unwrap()).get(&url).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[test]
fn settings_that_make_no_client_are_errors() {
    let config = |built: Result<_, Error>| {
        let _: reqwest_middleware::ClientWithMiddleware = match built {
            Ok(client) => client,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Config);
                return error.to_string();
            }
        };
        panic!("was built")
    };
    assert!(config(Client::builder().max_per_request("$1").build()).contains("scheme"));
    let wallet = Wallet::default();
    let capped = |cap: &str| config(Client::builder().scheme(wallet.clone()).max_per_request(cap).build());
    assert!(capped("ten").contains("price"));
    assert!(capped("$0").contains("zero"));
    assert!(capped("1 USDC").contains("dollars"));
    assert!(config(builder(&wallet).hosts(["https://example.com"]).build()).contains("https://example.com"));
}
