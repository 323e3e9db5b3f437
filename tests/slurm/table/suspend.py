"""A SuspendProgram for Slurm: deletes the nodes that Slurm powers down.

    suspend.py ENDPOINT HOSTLIST
"""

import sys

import boto3

from place import CLUSTER, hosts

endpoint, names = sys.argv[1], set(hosts(sys.argv[2]))
api = boto3.client(
    "sagemaker",
    endpoint_url=endpoint,
    region_name="us-west-2",
    aws_access_key_id="x",
    aws_secret_access_key="x",
)
ids = [
    node["InstanceId"]
    for page in api.get_paginator("list_cluster_nodes").paginate(ClusterName=CLUSTER)
    for node in page["ClusterNodeSummaries"]
    if node["PrivateDnsHostname"].split(".")[0] in names
]
answer = api.batch_delete_cluster_nodes(ClusterName=CLUSTER, NodeIds=ids)
print(sorted(names), {key: answer.get(key) for key in ("Successful", "Failed")}, flush=True)
