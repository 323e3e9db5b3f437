//! SageMaker and CloudWatch behind the daemon's ports, through the AWS SDKs.
