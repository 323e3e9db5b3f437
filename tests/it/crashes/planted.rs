//! Planted bugs: each check must bite.
