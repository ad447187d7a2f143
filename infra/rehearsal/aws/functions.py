"""The invokes: questions that a program asks before it makes anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from infra.provider.codec import Properties
from infra.provider.resource import ResourceError
from infra.rehearsal.aws import schema
from infra.rehearsal.aws.clients import Aws

_SUFFIXES = {"aws": "amazonaws.com", "aws-cn": "amazonaws.com.cn", "aws-us-gov": "amazonaws.com"}


def partition_of(region: str) -> str:
    """Return the AWS partition of a region."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def invoke(token: str, arguments: Properties, aws: Aws, account: str) -> Properties:
    """Answer a function.

    Raises:
        ResourceError: The table has no such function, or the API refused.
    """
    function = FUNCTIONS.get(token)
    if function is None:
        raise ResourceError(f"{token} is no function of the rehearsal's table; it has {', '.join(sorted(FUNCTIONS))}")
    result = function(arguments, aws, account)
    unknown = sorted(set(result) - schema.function_names(token))
    if unknown:
        raise ResourceError(f"the rehearsal answers {token} with {', '.join(unknown)}, which it does not have")
    return result


def _caller_identity(arguments: Properties, aws: Aws, account: str) -> Properties:
    del arguments
    identity = aws.call("sts", "get_caller_identity", {})
    return {"accountId": account, "arn": identity["Arn"], "userId": identity["UserId"], "id": account}


def _partition(arguments: Properties, aws: Aws, account: str) -> Properties:
    del arguments, account
    partition = partition_of(aws.region)
    suffix = _SUFFIXES[partition]
    reverse = ".".join(reversed(suffix.split(".")))
    return {"partition": partition, "id": partition, "dnsSuffix": suffix, "reverseDnsPrefix": reverse}


def _region(arguments: Properties, aws: Aws, account: str) -> Properties:
    del account
    region = arguments.get("region") or aws.region
    suffix = _SUFFIXES[partition_of(region)]
    return {"region": region, "name": region, "id": region, "endpoint": f"ec2.{region}.{suffix}", "description": region}


def _filters(arguments: Properties) -> dict[str, Any]:
    given = arguments.get("filters") or []
    return {"Filters": [{"Name": one["name"], "Values": one["values"]} for one in given]} if given else {}


def _availability_zones(arguments: Properties, aws: Aws, account: str) -> Properties:
    del account
    zones = aws.call("ec2", "describe_availability_zones", _filters(arguments))["AvailabilityZones"]
    state, without = arguments.get("state"), set(arguments.get("excludeNames") or [])
    kept = [zone for zone in zones if (not state or zone["State"] == state) and zone["ZoneName"] not in without]
    kept.sort(key=lambda zone: zone["ZoneName"])
    return {
        "id": aws.region,
        "names": [zone["ZoneName"] for zone in kept],
        "zoneIds": [zone["ZoneId"] for zone in kept],
        "groupNames": sorted({zone.get("GroupName", aws.region) for zone in kept}),
        **({"state": state} if state else {}),
    }


def _instance_types(arguments: Properties, aws: Aws, account: str) -> Properties:
    del account
    found = aws.every("ec2", "describe_instance_types", "InstanceTypes", _filters(arguments))
    names = [one["InstanceType"] for one in found]
    return {"id": aws.region, "instanceTypes": sorted(names)}


def _instance_type(arguments: Properties, aws: Aws, account: str) -> Properties:
    del account
    name = arguments["instanceType"]
    found = aws.call("ec2", "describe_instance_types", {"InstanceTypes": [name]})["InstanceTypes"]
    if not found:
        raise ResourceError(f"{aws.region} has no instance type {name}")
    one = found[0]
    gpus = [
        {
            "name": gpu.get("Name", ""),
            "manufacturer": gpu.get("Manufacturer", ""),
            "count": gpu.get("Count", 0),
            "memorySize": gpu.get("MemoryInfo", {}).get("SizeInMiB", 0),
        }
        for gpu in one.get("GpuInfo", {}).get("Gpus", [])
    ]
    processor, network = one.get("ProcessorInfo", {}), one.get("NetworkInfo", {})
    return {
        "id": name,
        "instanceType": name,
        "defaultVcpus": one["VCpuInfo"]["DefaultVCpus"],
        "memorySize": one["MemoryInfo"]["SizeInMiB"],
        "gpuses": gpus,
        "totalGpuMemory": one.get("GpuInfo", {}).get("TotalGpuMemoryInMiB", 0),
        "currentGeneration": one.get("CurrentGeneration", True),
        "bareMetal": one.get("BareMetal", False),
        "supportedArchitectures": processor.get("SupportedArchitectures", []),
        "maximumNetworkInterfaces": network.get("MaximumNetworkInterfaces", 0),
        "maximumIpv4AddressesPerInterface": network.get("Ipv4AddressesPerInterface", 0),
        "supportedUsagesClasses": one.get("SupportedUsageClasses", []),
    }


def _instance_type_offerings(arguments: Properties, aws: Aws, account: str) -> Properties:
    del account
    wanted = {"LocationType": arguments.get("locationType") or "region", **_filters(arguments)}
    offerings = aws.every("ec2", "describe_instance_type_offerings", "InstanceTypeOfferings", wanted)
    found = sorted((one["InstanceType"], one["Location"], one["LocationType"]) for one in offerings)
    types, locations, kinds = (list(column) for column in zip(*found, strict=True)) if found else ([], [], [])
    return {"id": aws.region, "instanceTypes": types, "locations": locations, "locationTypes": kinds}


def _service_quota(arguments: Properties, aws: Aws, account: str) -> Properties:
    del account
    service, code = arguments["serviceCode"], arguments.get("quotaCode")
    if not code:
        quotas = aws.every("service-quotas", "list_service_quotas", "Quotas", {"ServiceCode": service})
        code = next((one["QuotaCode"] for one in quotas if one["QuotaName"] == arguments.get("quotaName")), None)
        if code is None:
            raise ResourceError(f"{service} has no quota named {arguments.get('quotaName')!r}")
    quota = aws.call("service-quotas", "get_service_quota", {"ServiceCode": service, "QuotaCode": code})["Quota"]
    return {
        "id": quota["QuotaArn"],
        "arn": quota["QuotaArn"],
        "adjustable": quota["Adjustable"],
        "globalQuota": quota["GlobalQuota"],
        "defaultValue": quota["Value"],
        "value": quota["Value"],
        "quotaCode": code,
        "quotaName": quota["QuotaName"],
        "serviceCode": service,
        "serviceName": quota.get("ServiceName", service),
    }


FUNCTIONS: Mapping[str, Callable[[Properties, Aws, str], Properties]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": _caller_identity,
    "aws:index/getPartition:getPartition": _partition,
    "aws:index/getRegion:getRegion": _region,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _availability_zones,
    "aws:ec2/getInstanceTypes:getInstanceTypes": _instance_types,
    "aws:ec2/getInstanceType:getInstanceType": _instance_type,
    "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": _instance_type_offerings,
    "aws:servicequotas/getServiceQuota:getServiceQuota": _service_quota,
}
