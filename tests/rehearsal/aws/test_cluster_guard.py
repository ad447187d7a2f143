"""The security group that EKS makes with a cluster is one that rules can name."""

import pytest

from infra.rehearsal.aws.clients import Aws

pytestmark = pytest.mark.slow


def test_a_cluster_comes_with_a_security_group_of_its_network_and_takes_it_along(aws: Aws) -> None:
    network = aws.call("ec2", "create_vpc", {"CidrBlock": "10.99.0.0/16"})["Vpc"]["VpcId"]
    subnet = aws.call("ec2", "create_subnet", {"VpcId": network, "CidrBlock": "10.99.0.0/20"})["Subnet"]["SubnetId"]
    try:
        aws.call(
            "eks",
            "create_cluster",
            {
                "name": "guarded",
                "roleArn": "arn:aws:iam::111122223333:role/r",
                "resourcesVpcConfig": {"subnetIds": [subnet]},
            },
        )
        told = aws.call("eks", "describe_cluster", {"name": "guarded"})["cluster"]["resourcesVpcConfig"]
        guard = told["clusterSecurityGroupId"]
        groups = aws.call("ec2", "describe_security_groups", {"GroupIds": [guard]})["SecurityGroups"]
        assert groups[0]["VpcId"] == network

        aws.call("eks", "delete_cluster", {"name": "guarded"})

        left = aws.call("ec2", "describe_security_groups", {"Filters": [{"Name": "vpc-id", "Values": [network]}]})
        assert guard not in [group["GroupId"] for group in left["SecurityGroups"]]
    finally:
        aws.call("ec2", "delete_subnet", {"SubnetId": subnet})
        aws.call("ec2", "delete_vpc", {"VpcId": network})
