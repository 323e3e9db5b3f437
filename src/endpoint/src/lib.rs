//! The simulated world behind the wire protocols of SageMaker and CloudWatch.
