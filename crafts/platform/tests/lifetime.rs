//! A node that was stopped has closed what it owned.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use platform::{Node, NodeConfig, Role};

#[test]
fn a_node_can_be_started_again_where_another_was_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let mut config = NodeConfig::up(listen, dir.path().to_owned());
    config.agent = false;
    config.chosen.insert(Role::Queue, queue::NAME.to_owned());
    assert!(Node::start(&config).unwrap().stop().is_complete());
    let second = Node::start(&config).unwrap();
    let refused = Node::start(&config).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("another process") && refused.contains("lock"), "{refused}");
    assert!(second.stop().is_complete());
    Node::start(&config).unwrap().stop();
}
