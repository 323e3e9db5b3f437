//! Accelerators of each SageMaker instance type.
//!
//! Counts are those of the AWS instance type pages. Names, architectures and memory sizes are what
//! `nvidia-smi` prints on such a machine. An instance type that is not in the table has
//! `gpus_per_node` GPUs of an unspecified model, or none.

/// The accelerators of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerators {
    /// No accelerators.
    None,
    /// NVIDIA GPUs.
    Gpus {
        /// Number of GPUs, at least 1.
        count: u32,
        model: Gpu,
    },
    /// AWS Neuron devices, each with several NeuronCores.
    Neuron {
        /// Number of devices, at least 1.
        devices: u32,
        model: Neuron,
    },
}

/// GPU model, as `nvidia-smi` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gpu {
    pub(super) name: &'static str,
    pub(super) arch: &'static str,
    /// Memory in MiB. At least 5,000, so that a whole number of MiB gives the share in use to a
    /// hundredth of a percent.
    pub(super) memory_mib: u32,
}

/// Neuron device model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neuron {
    pub(super) cores: u32,
    /// Memory of one core, in bytes.
    pub(super) core_memory: u64,
}

const GIB: u64 = 1 << 30;

const T4: Gpu = Gpu { name: "Tesla T4", arch: "Turing", memory_mib: 15_360 };
const A10G: Gpu = Gpu { name: "NVIDIA A10G", arch: "Ampere", memory_mib: 23_028 };
const L4: Gpu = Gpu { name: "NVIDIA L4", arch: "Ada Lovelace", memory_mib: 23_034 };
const L40S: Gpu = Gpu { name: "NVIDIA L40S", arch: "Ada Lovelace", memory_mib: 46_068 };
const A100_40: Gpu = Gpu { name: "NVIDIA A100-SXM4-40GB", arch: "Ampere", memory_mib: 40_960 };
const A100_80: Gpu = Gpu { name: "NVIDIA A100-SXM4-80GB", arch: "Ampere", memory_mib: 81_920 };
const H100: Gpu = Gpu { name: "NVIDIA H100 80GB HBM3", arch: "Hopper", memory_mib: 81_559 };
const H200: Gpu = Gpu { name: "NVIDIA H200", arch: "Hopper", memory_mib: 143_771 };
const B200: Gpu = Gpu { name: "NVIDIA B200", arch: "Blackwell", memory_mib: 183_359 };
const B300: Gpu = Gpu { name: "NVIDIA B300 SXM6 AC", arch: "Blackwell", memory_mib: 275_040 };
const GB200: Gpu = Gpu { name: "NVIDIA GB200", arch: "Blackwell", memory_mib: 189_471 };
const RTX_6000: Gpu = Gpu {
    name: "NVIDIA RTX PRO 6000 Blackwell Server Edition",
    arch: "Blackwell",
    memory_mib: 97_887,
};
/// Model for instance types that are not in the table.
const SOME_GPU: Gpu = Gpu { name: "Simulated GPU", arch: "Simulated", memory_mib: 24_576 };

const TRN1: Neuron = Neuron { cores: 2, core_memory: 16 * GIB };
const INF2: Neuron = Neuron { cores: 2, core_memory: 16 * GIB };
const TRN2: Neuron = Neuron { cores: 8, core_memory: 12 * GIB };

impl Accelerators {
    /// Returns the accelerators of an instance type. A `gpus` above 0 overrides their number.
    pub(super) fn of(instance_type: &str, gpus: u32) -> Self {
        match Self::known(instance_type) {
            Self::Gpus { count, model } => {
                Self::Gpus { count: if gpus > 0 { gpus } else { count }, model }
            }
            Self::Neuron { devices, model } => {
                Self::Neuron { devices: if gpus > 0 { gpus } else { devices }, model }
            }
            Self::None if gpus > 0 => Self::Gpus { count: gpus, model: SOME_GPU },
            Self::None => Self::None,
        }
    }

    fn known(instance_type: &str) -> Self {
        let name = instance_type.strip_prefix("ml.").unwrap_or(instance_type);
        let Some((family, size)) = name.split_once('.') else { return Self::None };
        let gpus = |count, model| Self::Gpus { count, model };
        let neuron = |devices, model| Self::Neuron { devices, model };
        // Sizes of the families that come with 1, 4 or 8 GPUs.
        let by_size = match size {
            "12xlarge" | "24xlarge" => 4,
            "48xlarge" => 8,
            _ => 1,
        };
        match (family, size) {
            ("g4dn", _) => gpus(if size == "12xlarge" { 4 } else { 1 }, T4),
            ("g5", _) => gpus(by_size, A10G),
            ("g6" | "gr6", _) => gpus(by_size, L4),
            ("g6e", _) => gpus(by_size, L40S),
            ("g7e", "12xlarge") => gpus(2, RTX_6000),
            ("g7e", _) => gpus(by_size, RTX_6000),
            ("p4d", _) => gpus(8, A100_40),
            ("p4de", _) => gpus(8, A100_80),
            ("p5", "4xlarge") => gpus(1, H100),
            ("p5", _) => gpus(8, H100),
            ("p5e" | "p5en", _) => gpus(8, H200),
            ("p6-b200", _) => gpus(8, B200),
            ("p6-b300", _) => gpus(8, B300),
            ("p6e-gb200", _) => gpus(4, GB200),
            ("trn1", "2xlarge") => neuron(1, TRN1),
            ("trn1" | "trn1n", _) => neuron(16, TRN1),
            ("trn2", "3xlarge") => neuron(1, TRN2),
            ("trn2", _) => neuron(16, TRN2),
            ("inf2", "24xlarge") => neuron(6, INF2),
            ("inf2", "48xlarge") => neuron(12, INF2),
            ("inf2", _) => neuron(1, INF2),
            _ => Self::None,
        }
    }

    /// Number of units with a utilization of their own: GPUs or NeuronCores.
    pub(super) fn units(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Gpus { count, .. } => count,
            Self::Neuron { devices, model } => devices.saturating_mul(model.cores),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn type_tells_the_processors_and_the_group_may_overrule_how_many() {
        let devices = |name, gpus| Accelerators::of(name, gpus).units();
        let known = [
            ("ml.g5.8xlarge", 1),
            ("ml.g5.12xlarge", 4),
            ("ml.g5.48xlarge", 8),
            ("ml.g4dn.16xlarge", 1),
            ("ml.g7e.12xlarge", 2),
            ("ml.p5.4xlarge", 1),
            ("ml.p5en.48xlarge", 8),
            ("ml.trn1.32xlarge", 32),
            ("ml.c5.4xlarge", 0),
            ("nonsense", 0),
        ];
        for (name, count) in known {
            assert_eq!(devices(name, 0), count, "{name}");
        }
        assert_eq!(devices("ml.g5.8xlarge", 8), 8);
        assert_eq!(devices("ml.c5.4xlarge", 2), 2);
        assert_eq!(devices("ml.trn2.48xlarge", 0), 128);
        assert_eq!(devices("ml.trn1.32xlarge", 1), 2, "cores of one device");
    }
}
