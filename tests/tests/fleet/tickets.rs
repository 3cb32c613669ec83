//! Tickets, bought from one node and spent at another.

use portcullis_tests::client::{Client, Dial, Refused};
use portcullis_tests::fleet::Fleet;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::raw::ask;
use portcullis_tests::tokens;

fn buy(node: &Gateway, name: &str) -> String {
    let token = tokens::good(name);
    let request = format!(
        "POST /v1/tickets HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 0\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    let answer = ask(node.public, request);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["ticket"].as_str().expect("a ticket").to_owned()
}

async fn spend(node: &Gateway, ticket: &str) -> Result<Client, Refused> {
    Dial::to(node).target(&format!("/ws?ticket={ticket}")).connect().await
}

#[tokio::test]
async fn a_ticket_of_one_node_opens_one_connection_at_another() {
    let fleet = Fleet::start(|setup| setup);
    let ticket = buy(&fleet.a, "ann");
    let mut ann = spend(&fleet.b, &ticket).await.unwrap_or_else(|refused| panic!("{refused:?}"));
    assert_eq!(ann.user(), "app:ann");
    ann.check_alive().await;
    for node in [&fleet.a, &fleet.b] {
        let Err(refused) = spend(node, &ticket).await else { panic!("twice") };
        assert_eq!((refused.status, refused.code()), (401, "unauthenticated"));
    }
}

#[tokio::test]
async fn of_many_who_spend_a_ticket_at_once_one_is_let_in() {
    let fleet = Fleet::start(|setup| setup);
    for _ in 0..10 {
        let ticket = buy(&fleet.b, "ann");
        let tries = [&fleet.a, &fleet.b].into_iter().cycle().take(8).map(|node| spend(node, &ticket));
        let answers = futures_util::future::join_all(tries).await;
        assert!(answers.iter().flatten().count() == 1);
        for refused in answers.into_iter().filter_map(Result::err) {
            assert_eq!((refused.status, refused.code()), (401, "unauthenticated"));
        }
    }
}
