//! The same names for a build without the feature `simulator`. The types have no values, so only
//! the functions that return [`Absent`] can run.

use std::path::Path;
use std::sync::Arc;

use trimtab_config::Mode;
use trimtab_core::ids::ClusterName;
use trimtab_core::units::{Span, Time};
use trimtab_daemon::ports::{
    Clock, Cordon, Doorbell, Ports, Prices, ReadError, Utilization, WorkloadRead,
};

use super::Absent;
use crate::clock::CronDoorbell;

/// A simulated cluster in this process.
#[derive(Clone)]
pub(crate) enum World {}

/// A simulated cluster behind an endpoint.
#[derive(Clone)]
pub(crate) enum WorldClient {}

/// Specification of a world.
pub(crate) struct Spec {
    pub(crate) cluster: ClusterName,
}

impl World {
    pub(crate) fn spec(&self) -> Spec {
        match *self {}
    }

    pub(crate) fn now(&self) -> Time {
        match *self {}
    }

    pub(crate) fn prices(&self) -> Arc<dyn Prices> {
        match *self {}
    }

    pub(crate) fn doorbell(&self, _: Span) -> Box<dyn Doorbell> {
        match *self {}
    }
}

impl WorldClient {
    /// Never connects, so that a loopback endpoint counts as a tunnel.
    ///
    /// # Errors
    /// Always.
    pub(crate) async fn connect(_: &str) -> Result<Self, Absent> {
        Err(Absent)
    }

    pub(crate) fn now(&self) -> Time {
        match *self {}
    }

    pub(crate) fn speed(&self) -> f64 {
        match *self {}
    }

    pub(crate) fn is_in_lock_step(&self) -> bool {
        match *self {}
    }

    pub(crate) async fn read_clock(&self) -> Result<Time, ReadError> {
        match *self {}
    }

    pub(crate) fn doorbell(&self, _: Span) -> Box<dyn Doorbell> {
        match *self {}
    }
}

pub(crate) fn ports(world: &World, _: Mode) -> Ports {
    match *world {}
}

pub(crate) fn workload(world: &WorldClient) -> Arc<dyn WorkloadRead> {
    match *world {}
}

pub(crate) fn cordon(world: &WorldClient) -> Arc<dyn Cordon> {
    match *world {}
}

pub(crate) fn utilization(world: &WorldClient) -> Arc<dyn Utilization> {
    match *world {}
}

pub(crate) fn prices(world: &WorldClient) -> Arc<dyn Prices> {
    match *world {}
}

pub(crate) fn clock(world: &WorldClient) -> Arc<dyn Clock> {
    match *world {}
}

pub(crate) fn in_real_time(world: &World, _: CronDoorbell) -> Box<dyn Doorbell> {
    match *world {}
}

/// # Errors
/// Always.
pub(crate) fn read_world(_: &Path) -> anyhow::Result<World> {
    Err(Absent.into())
}
