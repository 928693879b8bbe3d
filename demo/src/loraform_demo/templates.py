"""The kinds of programs that the corpora are made of: one or two AWS resources, what a prompt may say, the answer.

Each program is clean under `terraform validate` with the AWS provider 5.100.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from loraform_demo.hcl import Block, quoted, resource, tags
from loraform_demo.pools import Pool

Values = Mapping[str, str]


@dataclass(frozen=True)
class Field:
    """One value that a prompt gives. `phrases` and `label` hold `{}` where it goes (a label without: at its end)."""

    key: str
    label: str
    phrases: Sequence[str]
    draw: Callable[[Pool], str]
    optional: bool = False
    enumerated: bool = False
    """One of few words that all corpora share, so it is not part of what a suite asks literally."""
    inside: str = ""
    """The key of the network in whose address range the value, a subnet, lies."""


@dataclass(frozen=True)
class Template:
    """`nouns` name the thing with its article; the value `name` is in every program."""

    key: str
    types: Sequence[str]
    nouns: Sequence[str]
    fields: Sequence[Field]
    build: Callable[[Values], list[Block]]
    draw_name: Callable[[Pool], str] = Pool.name


def number(low: int, high: int) -> Callable[[Pool], str]:
    return lambda pool: pool.number(low, high)


def one_of(*words: str) -> Callable[[Pool], str]:
    return lambda pool: pool.rng.choice(words)


def given(v: Values, key: str, attribute: str, wrap: Callable[[str], str] = str) -> list[tuple[str, str]]:
    """Return the attribute when the prompt gives its value."""
    return [(attribute, wrap(v[key]))] if key in v else []


def trust(service: str) -> str:
    """Return the trust policy of a role which one AWS service assumes."""
    statement = f'Effect = "Allow", Action = "sts:AssumeRole", Principal = {{ Service = "{service}.amazonaws.com" }}'
    return f'jsonencode({{ Version = "2012-10-17", Statement = [{{ {statement} }}] }})'


ZONE = Field(
    "zone", "availability zone", ("the availability zone {}", "{} as its availability zone"),
    one_of("us-east-1a", "us-east-1b", "us-west-2a", "us-west-2c", "eu-west-1a", "eu-west-1b", "eu-central-1a"),
    enumerated=True,
)  # fmt: skip
VPC_CIDR = Field("vpc", "VPC CIDR", ("the range {}", "the CIDR block {}", "the address range {}"), Pool.vpc_cidr)
SUBNET_CIDR = Field(
    "subnet", "subnet CIDR", ("a subnet {}", "a subnet of {}", "one subnet with {}"), Pool.subnet_cidr, inside="vpc"
)
DESCRIPTION = Field(
    "description", "description", ('the description "{}"', 'a description saying "{}"'), Pool.phrase, optional=True
)


def bucket(v: Values) -> list[Block]:
    return [resource("aws_s3_bucket", ("bucket", quoted(v["name"])))]


def versioned_bucket(v: Values) -> list[Block]:
    status = Block("versioning_configuration", [("status", quoted("Enabled"))])
    return [*bucket(v), resource("aws_s3_bucket_versioning", ("bucket", "aws_s3_bucket.main.id"), status)]


def private_bucket(v: Values) -> list[Block]:
    block = resource(
        "aws_s3_bucket_public_access_block",
        ("bucket", "aws_s3_bucket.main.id"),
        ("block_public_acls", "true"),
        ("block_public_policy", "true"),
    )
    return [*bucket(v), block]


def queue(v: Values) -> list[Block]:
    items = given(v, "visibility", "visibility_timeout_seconds") + given(v, "retention", "message_retention_seconds")
    return [resource("aws_sqs_queue", ("name", quoted(v["name"])), *items)]


def topic(v: Values) -> list[Block]:
    return [resource("aws_sns_topic", ("name", quoted(v["name"])), *given(v, "display", "display_name", quoted))]


def subscribed_topic(v: Values) -> list[Block]:
    subscription = resource(
        "aws_sns_topic_subscription",
        ("topic_arn", "aws_sns_topic.main.arn"),
        ("protocol", quoted("email")),
        ("endpoint", quoted(v["email"])),
    )
    return [*topic(v), subscription]


def table(v: Values) -> list[Block]:
    key = v["key"]
    attribute = Block("attribute", [("name", quoted(key)), ("type", quoted("S"))])
    mode = ("billing_mode", quoted("PAY_PER_REQUEST"))
    return [resource("aws_dynamodb_table", ("name", quoted(v["name"])), mode, ("hash_key", quoted(key)), attribute)]


def vpc(v: Values) -> list[Block]:
    return [resource("aws_vpc", ("cidr_block", quoted(v["vpc"])), tags(Name=v["name"]))]


def vpc_with_subnet(v: Values) -> list[Block]:
    subnet = resource("aws_subnet", ("vpc_id", "aws_vpc.main.id"), ("cidr_block", quoted(v["subnet"])))
    return [*vpc(v), subnet]


def security_group(v: Values) -> list[Block]:
    ingress = Block(
        "ingress",
        [
            ("from_port", v["port"]),
            ("to_port", v["port"]),
            ("protocol", quoted("tcp")),
            ("cidr_blocks", f'["{v["source"]}"]'),
        ],
    )
    return [resource("aws_security_group", ("name", quoted(v["name"])), ingress)]


def log_group(v: Values) -> list[Block]:
    items = given(v, "retention", "retention_in_days")
    return [resource("aws_cloudwatch_log_group", ("name", quoted(v["name"])), *items)]


def role(v: Values) -> list[Block]:
    return [resource("aws_iam_role", ("name", quoted(v["name"])), ("assume_role_policy", trust(v["service"])))]


def volume(v: Values) -> list[Block]:
    size = ("size", v["size"])
    return [resource("aws_ebs_volume", ("availability_zone", quoted(v["zone"])), size, tags(Name=v["name"]))]


def instance(v: Values) -> list[Block]:
    items = ("ami", quoted(v["ami"])), ("instance_type", quoted(v["type"]))
    return [resource("aws_instance", *items, tags(Name=v["name"]))]


def database(v: Values) -> list[Block]:
    return [
        resource(
            "aws_db_instance",
            ("identifier", quoted(v["name"])),
            ("engine", quoted(v["engine"])),
            ("instance_class", quoted("db.t3.micro")),
            ("allocated_storage", v["size"]),
            ("username", quoted(v["user"])),
            ("manage_master_user_password", "true"),
            ("skip_final_snapshot", "true"),
        )
    ]


def repository(v: Values) -> list[Block]:
    items = given(v, "mutability", "image_tag_mutability", lambda word: quoted(word.upper()))
    return [resource("aws_ecr_repository", ("name", quoted(v["name"])), *items)]


def key_with_alias(v: Values) -> list[Block]:
    alias = resource(
        "aws_kms_alias", ("name", quoted(f"alias/{v['name']}")), ("target_key_id", "aws_kms_key.main.key_id")
    )
    return [resource("aws_kms_key", ("description", quoted(v["name"]))), alias]


def parameter(v: Values) -> list[Block]:
    items = ("type", quoted("String")), ("value", quoted(v["value"]))
    return [resource("aws_ssm_parameter", ("name", quoted(v["name"])), *items)]


def stream(v: Values) -> list[Block]:
    items = ("shard_count", v["shards"]), *given(v, "retention", "retention_period")
    return [resource("aws_kinesis_stream", ("name", quoted(v["name"])), *items)]


def secret(v: Values) -> list[Block]:
    items = given(v, "description", "description", quoted)
    return [resource("aws_secretsmanager_secret", ("name", quoted(v["name"])), *items)]


def zone(v: Values) -> list[Block]:
    return [resource("aws_route53_zone", ("name", quoted(v["name"])), *given(v, "description", "comment", quoted))]


def cluster(v: Values) -> list[Block]:
    return [resource("aws_ecs_cluster", ("name", quoted(v["name"])))]


def file_system(v: Values) -> list[Block]:
    throughput = given(v, "throughput", "provisioned_throughput_in_mibps")
    mode = [("throughput_mode", quoted("provisioned"))] if throughput else []
    token = ("creation_token", quoted(v["name"]))
    return [resource("aws_efs_file_system", token, *mode, *throughput)]


TEMPLATES: Sequence[Template] = (
    Template("bucket", ["aws_s3_bucket"], ["an S3 bucket", "a storage bucket", "an S3 storage bucket"], [], bucket),
    Template(
        "versioned_bucket",
        ["aws_s3_bucket", "aws_s3_bucket_versioning"],
        ["a versioned S3 bucket", "an S3 bucket with versioning", "a storage bucket that keeps versions"],
        [],
        versioned_bucket,
    ),
    Template(
        "private_bucket",
        ["aws_s3_bucket", "aws_s3_bucket_public_access_block"],
        ["a private S3 bucket", "an S3 bucket closed to the public", "a storage bucket without public access"],
        [],
        private_bucket,
    ),
    Template(
        "queue",
        ["aws_sqs_queue"],
        ["an SQS queue", "a message queue", "a queue on SQS"],
        [
            Field(
                "visibility",
                "visibility timeout: {} seconds",
                ("a visibility timeout of {} seconds", "{} seconds of visibility timeout", "visibility timeout {}"),
                number(30, 43200),
                optional=True,
            ),
            Field(
                "retention",
                "message retention: {} seconds",
                ("a message retention of {} seconds", "messages kept for {} seconds", "retention {} seconds"),
                number(100, 1209600),
                optional=True,
            ),
        ],
        queue,
    ),
    Template(
        "topic",
        ["aws_sns_topic"],
        ["an SNS topic", "a notification topic", "a topic on SNS"],
        [
            Field(
                "display", "display name", ('the display name "{}"', 'a display name "{}"'), Pool.phrase, optional=True
            )
        ],
        topic,
    ),
    Template(
        "subscribed_topic",
        ["aws_sns_topic", "aws_sns_topic_subscription"],
        ["an SNS topic with an email subscription", "a notification topic that sends email", "an SNS email topic"],
        [Field("email", "email", ("mail to {}", "the subscriber {}", "the email address {}"), Pool.email)],
        subscribed_topic,
    ),
    Template(
        "table",
        ["aws_dynamodb_table"],
        ["a DynamoDB table", "an on-demand DynamoDB table", "a NoSQL table"],
        [Field("key", "hash key", ("the hash key {}", "{} as hash key", "the partition key {}"), Pool.identifier)],
        table,
    ),
    Template("vpc", ["aws_vpc"], ["a VPC", "a virtual network", "a virtual private cloud"], [VPC_CIDR], vpc),
    Template(
        "vpc_with_subnet",
        ["aws_vpc", "aws_subnet"],
        ["a VPC", "a virtual network", "a virtual private cloud"],
        [VPC_CIDR, SUBNET_CIDR],
        vpc_with_subnet,
    ),
    Template(
        "security_group",
        ["aws_security_group"],
        ["a security group", "a firewall group", "a network security group"],
        [
            Field(
                "port", "open port", ("port {} open", "TCP port {} allowed", "access on port {}"), number(1024, 49151)
            ),
            Field("source", "source", ("traffic from {}", "clients in {}", "the source range {}"), Pool.subnet_cidr),
        ],
        security_group,
    ),
    Template(
        "log_group",
        ["aws_cloudwatch_log_group"],
        ["a CloudWatch log group", "a log group", "a log group in CloudWatch"],
        [
            Field(
                "retention",
                "retention: {} days",
                ("a retention of {} days", "logs kept for {} days", "{} days of retention"),
                one_of("7", "14", "30", "60", "90", "365"),
                optional=True,
                enumerated=True,
            )
        ],
        log_group,
    ),
    Template(
        "role",
        ["aws_iam_role"],
        ["an IAM role", "a service role", "a role in IAM"],
        [
            Field(
                "service",
                "service",
                ("trust for {}", "{} as the trusted service", "the {} service allowed to assume it"),
                one_of("lambda", "ec2", "ecs-tasks", "glue", "states"),
                enumerated=True,
            )
        ],
        role,
    ),
    Template(
        "volume",
        ["aws_ebs_volume"],
        ["an EBS volume", "a block storage volume", "a disk volume"],
        [Field("size", "size: {} GB", ("{} GB", "a size of {} GB", "{} GB of space"), number(1, 16000)), ZONE],
        volume,
    ),
    Template(
        "instance",
        ["aws_instance"],
        ["an EC2 instance", "a virtual machine", "a server on EC2"],
        [
            Field("ami", "AMI", ("the AMI {}", "the image {}", "the machine image {}"), Pool.ami),
            Field(
                "type",
                "instance type",
                ("the instance type {}", "the type {}", "{} as its type"),
                one_of("t3.micro", "t3.small", "t3.large", "m5.large", "c5.xlarge"),
                enumerated=True,
            ),
        ],
        instance,
    ),
    Template(
        "database",
        ["aws_db_instance"],
        ["an RDS database", "a database instance", "a managed database"],
        [
            Field(
                "engine",
                "engine",
                ("the {} engine", "{} as the engine", "the engine {}"),
                one_of("postgres", "mysql", "mariadb"),
                enumerated=True,
            ),
            Field("size", "storage: {} GB", ("{} GB of storage", "a storage of {} GB", "{} GB"), number(20, 6000)),
            Field("user", "user", ("the user {}", "the admin user {}", "{} as the user name"), Pool.identifier),
        ],
        database,
    ),
    Template(
        "repository",
        ["aws_ecr_repository"],
        ["an ECR repository", "a container repository", "an image repository"],
        [
            Field(
                "mutability",
                "image tags",
                ("{} image tags", "{} tags", "image tags that are {}"),
                one_of("immutable", "mutable"),
                optional=True,
                enumerated=True,
            )
        ],
        repository,
    ),
    Template(
        "key_with_alias",
        ["aws_kms_key", "aws_kms_alias"],
        ["a KMS key", "an encryption key", "a KMS key and its alias"],
        [],
        key_with_alias,
    ),
    Template(
        "parameter",
        ["aws_ssm_parameter"],
        ["an SSM parameter", "a config parameter", "a parameter in SSM"],
        [Field("value", "value", ('the value "{}"', '"{}" as its value', 'the content "{}"'), Pool.phrase)],
        parameter,
    ),
    Template(
        "stream",
        ["aws_kinesis_stream"],
        ["a Kinesis stream", "a data stream", "a Kinesis data stream"],
        [
            Field("shards", "shards", ("{} shards", "a shard count of {}", "shard count {}"), number(2, 400)),
            Field(
                "retention",
                "retention: {} hours",
                ("a retention of {} hours", "records kept for {} hours", "{} hours of retention"),
                number(24, 8760),
                optional=True,
            ),
        ],
        stream,
    ),
    Template(
        "secret",
        ["aws_secretsmanager_secret"],
        ["a secret in Secrets Manager", "a Secrets Manager secret", "a managed secret"],
        [DESCRIPTION],
        secret,
    ),
    Template(
        "zone",
        ["aws_route53_zone"],
        ["a Route 53 zone", "a DNS zone", "a hosted zone"],
        [Field("description", "note", ('the note "{}"', 'a note "{}"'), Pool.phrase, optional=True)],
        zone,
        draw_name=Pool.domain,
    ),
    Template(
        "cluster", ["aws_ecs_cluster"], ["an ECS cluster", "a container cluster", "a cluster on ECS"], [], cluster
    ),
    Template(
        "file_system",
        ["aws_efs_file_system"],
        ["an EFS file system", "a shared file system", "an elastic file system"],
        [
            Field(
                "throughput",
                "throughput: {} MiB/s",
                ("a throughput of {} MiB/s", "{} MiB/s of throughput", "{} MiB/s provisioned"),
                number(2, 1000),
                optional=True,
            )
        ],
        file_system,
    ),
)
UNTAGGABLE = frozenset(
    {
        "aws_s3_bucket_versioning",
        "aws_s3_bucket_public_access_block",
        "aws_sns_topic_subscription",
        "aws_kms_alias",
    }
)
