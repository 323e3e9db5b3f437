//! Connects to one cluster: region, credentials, endpoint and time limits.

use std::sync::Arc;
use std::time::Duration;

use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_cloudwatch::Client as CloudwatchClient;
use aws_sdk_sagemaker::Client as SagemakerClient;
use aws_smithy_http_client::Builder as HttpBuilder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use trimtab_config::{AccountId, ClusterSettings, EndpointUrl, RoleArn};
use trimtab_core::units::Span;

/// Time limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of one attempt of a read. SageMaker answers within two seconds, and within five
/// in slow cases.
const READ_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of a read with all its retries: less than half a tick, so that an unavailable
/// service costs one tick and does not delay the next.
const READ_TIMEOUT: Duration = Duration::from_secs(40);
/// Attempts of a read (the SDK's default).
const READ_ATTEMPTS: u32 = 3;
/// Time limit of a request that changes something: the default maximum look age (30 s). A later
/// answer counts as no answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit on idle connections per host: more than the reads that run at the same time.
const IDLE_CONNECTIONS: usize = 8;

/// Location of a cluster and credentials for it.
#[derive(Debug, Clone)]
pub struct Target {
    pub region: String,
    /// Account that the cluster must belong to.
    pub account: AccountId,
    /// Role to assume.
    pub role: Option<RoleArn>,
    /// Endpoint that replaces the AWS endpoints.
    pub endpoint: Option<EndpointUrl>,
}

impl Target {
    /// Returns the target in a cluster's settings.
    pub fn of(settings: &ClusterSettings) -> Self {
        Self {
            region: settings.region.as_str().to_owned(),
            account: settings.account_id.clone(),
            role: settings.role_arn.clone(),
            endpoint: settings.endpoint_url.clone(),
        }
    }

    /// Whether the connection is unencrypted, which is allowed only for an endpoint on this
    /// machine.
    fn is_plain(&self) -> bool {
        self.endpoint.as_ref().is_some_and(|endpoint| endpoint.as_str().starts_with("http://"))
    }

    /// Whether the endpoint is on this machine. Such an endpoint does not check credentials.
    fn is_loopback(&self) -> bool {
        self.endpoint.as_ref().is_some_and(EndpointUrl::is_loopback)
    }
}

/// Clients for one cluster. Clones share them.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(crate) target: Arc<Target>,
    /// Client with retries and a total time limit.
    pub(crate) reads: SagemakerClient,
    /// Client that sends each request once.
    pub(crate) writes: SagemakerClient,
    pub(crate) cloudwatch: CloudwatchClient,
}

impl Connection {
    /// Creates the clients without sending a request. Credentials come from the AWS default
    /// chain (environment, profile, instance or container role), through `role` if it is set.
    /// An endpoint on this machine is simulated and gets placeholder credentials.
    pub async fn new(target: Target) -> Self {
        let shared = shared_config(&target).await;
        let reads = aws_sdk_sagemaker::config::Builder::from(&shared)
            .retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS))
            .timeout_config(timeouts(READ_ATTEMPT_TIMEOUT, READ_TIMEOUT));
        let writes = aws_sdk_sagemaker::config::Builder::from(&shared)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(WRITE_TIMEOUT, WRITE_TIMEOUT));
        let cloudwatch = aws_sdk_cloudwatch::config::Builder::from(&shared)
            .retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS))
            .timeout_config(timeouts(READ_ATTEMPT_TIMEOUT, READ_TIMEOUT));
        Self {
            target: Arc::new(target),
            reads: SagemakerClient::from_conf(reads.build()),
            writes: SagemakerClient::from_conf(writes.build()),
            cloudwatch: CloudwatchClient::from_conf(cloudwatch.build()),
        }
    }
}

/// Returns the time limit of a request that changes something, for a look that stays valid for
/// `within`: if the request waits for credentials or a connection, it must not be sent when the
/// look is too old. Returns `None` if no time is left.
pub(crate) fn write_limit(within: Span) -> Option<aws_sdk_sagemaker::config::Builder> {
    let limit = write_time(within)?;
    Some(aws_sdk_sagemaker::config::Config::builder().timeout_config(timeouts(limit, limit)))
}

fn write_time(within: Span) -> Option<Duration> {
    let left = Duration::from_millis(u64::try_from(within.0).ok()?).min(WRITE_TIMEOUT);
    (!left.is_zero()).then_some(left)
}

fn timeouts(attempt: Duration, whole: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(whole)
        .build()
}

async fn shared_config(target: &Target) -> SdkConfig {
    let region = Region::new(target.region.clone());
    let loader = aws_config::defaults(BehaviorVersion::latest())
        .region(region.clone())
        // If this machine's clock is wrong, the SDK would sign with the service's time and hide
        // the error, and old datapoints would look new. Without the correction the service
        // refuses the request.
        .disable_clock_skew_correction(true)
        .http_client(http_client(target.is_plain()));
    let loader = match &target.endpoint {
        Some(endpoint) => loader.endpoint_url(endpoint.as_str().trim_end_matches('/')),
        None => loader,
    };
    let loader = if target.is_loopback() {
        // The simulated endpoint finds the account in the access key.
        loader.credentials_provider(Credentials::new(
            format!("simulated{}", target.account),
            "simulated",
            None,
            None,
            "a simulated endpoint",
        ))
    } else {
        loader
    };
    let base = loader.load().await;
    let Some(role) = target.role.as_ref().filter(|_| !target.is_loopback()) else { return base };
    // AWS STS issues the role's credentials, even if SageMaker has a private endpoint.
    let mut sts = base.to_builder();
    sts.set_endpoint_url(None);
    let sts = sts.build();
    let assumed = AssumeRoleProvider::builder(role.as_str())
        .session_name("trimtab")
        .region(region)
        .configure(&sts)
        .build()
        .await;
    base.to_builder().credentials_provider(SharedCredentialsProvider::new(assumed)).build()
}

/// Returns an HTTP client that uses rustls with ring. An unencrypted endpoint, always on this
/// machine, needs no root certificates.
fn http_client(is_plain: bool) -> SharedHttpClient {
    let builder = HttpBuilder::new().pool_max_idle_per_host(IDLE_CONNECTIONS);
    if is_plain {
        builder.build_http()
    } else {
        builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changing_call_has_no_longer_than_its_look_is_good_for() {
        assert_eq!(write_time(Span::mins(10)), Some(WRITE_TIMEOUT));
        assert_eq!(write_time(Span::secs(4)), Some(Duration::from_secs(4)));
        assert_eq!(write_time(Span(1)), Some(Duration::from_millis(1)));
        assert_eq!(write_time(Span::ZERO), None);
        assert_eq!(write_time(Span(-1)), None);
    }
}
