//! Subjects, subscriptions, routing, mailboxes, links between nodes.
