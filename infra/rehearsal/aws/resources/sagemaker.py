"""SageMaker: feature groups, model package groups, pipelines."""

from infra.rehearsal.aws.kind import Call, Kind, Look, Tagging

_TAGS = Tagging("add_tags", "delete_tags", "ResourceArn", value="@arn", listing="list_tags Tags")
_GROUP = {"FeatureGroupName": "@id"}
_PACKAGES = {"ModelPackageGroupName": "@id"}
_PIPELINE = {"PipelineName": "@id"}

KINDS = (
    Kind(
        token="aws:sagemaker/featureGroup:FeatureGroup",
        service="sagemaker",
        cloudformation="AWS::SageMaker::FeatureGroup",
        create=Call("create_feature_group", auto=True),
        update=(
            Call(
                "update_feature_group",
                {
                    **_GROUP,
                    "FeatureAdditions": lambda at: (
                        [
                            one
                            for one in at.inputs["featureDefinitions"]
                            if one not in (at.old.get("featureDefinitions") or ())
                        ]
                        or None
                    ),
                    "ThroughputConfig": ".throughputConfig",
                },
                when=("featureDefinitions", "throughputConfig"),
            ),
        ),
        looks=(Look("describe_feature_group", _GROUP),),
        delete=(Call("delete_feature_group", _GROUP),),
        id=".featureGroupName",
        renames={"collectionType": "CollectionType"},
        replaces=("onlineStoreConfig",),
        updates=("featureDefinitions",),
        outputs={"arn": "FeatureGroupArn"},
        tagging=_TAGS,
        listing=("list_feature_groups", {}, "FeatureGroupSummaries[].FeatureGroupName"),
    ),
    Kind(
        token="aws:sagemaker/modelPackageGroup:ModelPackageGroup",
        service="sagemaker",
        cloudformation="AWS::SageMaker::ModelPackageGroup",
        create=Call("create_model_package_group", auto=True),
        looks=(Look("describe_model_package_group", _PACKAGES),),
        delete=(Call("delete_model_package_group", _PACKAGES),),
        id=".modelPackageGroupName",
        outputs={"arn": "ModelPackageGroupArn"},
        tagging=_TAGS,
        listing=("list_model_package_groups", {}, "ModelPackageGroupSummaryList[].ModelPackageGroupName"),
    ),
    Kind(
        token="aws:sagemaker/pipeline:Pipeline",
        service="sagemaker",
        cloudformation="AWS::SageMaker::Pipeline",
        create=Call(
            "create_pipeline", {"ClientRequestToken": lambda at: f"{at.inputs['pipelineName']:x<32}"[:128]}, auto=True
        ),
        update=(
            Call(
                "update_pipeline",
                auto=True,
                when=(
                    "pipelineDisplayName",
                    "pipelineDefinition",
                    "pipelineDescription",
                    "roleArn",
                    "parallelismConfiguration",
                ),
            ),
        ),
        looks=(Look("describe_pipeline", _PIPELINE),),
        delete=(Call("delete_pipeline", {**_PIPELINE, "ClientRequestToken": lambda at: f"{at.id:x<32}"[:128]}),),
        id=".pipelineName",
        outputs={"arn": "PipelineArn"},
        tagging=_TAGS,
        listing=("list_pipelines", {}, "PipelineSummaries[].PipelineName"),
    ),
)
