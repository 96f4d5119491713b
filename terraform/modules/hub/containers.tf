# The containers. What is set here are settings of insights/settings.py: tests/terraform holds their names to be real.

locals {
  home        = "/var/lib/insights"
  snapshots   = "${local.home}/flink/snapshots"
  authorities = dirname(var.authority_file)

  # Servers have a scratch home and /tmp of their own; the hub's home outlives the task.
  servers = ["registry", "jobmanager", "taskmanager"]
  prepared = concat(
    ["tmp-hub"],
    [for name in local.servers : "home-${name}"],
    [for name in local.servers : "tmp-${name}"],
  )
  scratch = concat(["authorities"], keys(local.agent), local.prepared)

  # What the agent of ECS Exec writes to. It is root, as the owner of a new volume is. Without these, a container whose
  # root is read-only takes no command.
  agent = {
    agent       = "/managed-agents"
    agent-state = "/var/lib/amazon/ssm"
    agent-log   = "/var/log/amazon/ssm"
  }

  # As user 10001 cannot write to a volume that is new, it is given to that user before anything else starts.
  prepare = join("\n", [
    "set -eu",
    "printf '%s' \"$AUTHORITY\" > ${var.authority_file}",
    "for name in ${join(" ", local.servers)}; do",
    "  mkdir -p /volumes/home-$name/flink/snapshots",
    "  chown -R 10001:10001 /volumes/home-$name",
    "done",
    "chmod 1777 /volumes/tmp-*",
  ])

  # What those who write the lake must know, too: its files are in S3, which they reach as the task's role.
  flink = merge(var.lake.settings, {
    INSIGHTS_EXTERNAL_FLINK        = "http://127.0.0.1:19080"
    INSIGHTS_JOBMANAGER_MEMORY_MB  = var.jobmanager_memory_mb
    INSIGHTS_TASKMANAGER_MEMORY_MB = var.taskmanager_memory_mb
    INSIGHTS_PARALLELISM           = var.parallelism
    INSIGHTS_LOG_FORMAT            = "json"
  })

  # Where the live job is on Managed Service for Apache Flink, neither of Flink's servers is here.
  is_flink_here = var.stream == null
  flink_servers = ["jobmanager", "taskmanager"]
  of_stream     = var.stream == null ? {} : var.stream.settings

  of_flink = {
    for name, value in local.flink : name => value if local.is_flink_here || name != "INSIGHTS_EXTERNAL_FLINK"
  }
  settings = merge(local.of_flink, local.of_stream, {
    INSIGHTS_CHECKPOINT_INTERVAL_SECONDS = 60        # each checkpoint writes a file to each table of the lake
    INSIGHTS_LISTEN                      = "0.0.0.0" # for the load balancer; the security group admits nobody else
    INSIGHTS_PAGE_PORT                   = var.page_port
    INSIGHTS_PAGE_LOGIN                  = "elsewhere" # at the load balancer, with Cognito
    INSIGHTS_MIN_MEMORY_GB               = "0.5"
    INSIGHTS_EXTERNAL_KAFKA              = var.kafka
    INSIGHTS_EXTERNAL_KAFKA_USER         = var.kafka_user
    INSIGHTS_EXTERNAL_REGISTRY           = "http://127.0.0.1:19081/apis/ccompat/v7"
  }, var.settings)

  registry = {
    INSIGHTS_REGISTRY_HEAP_MB = "256"
    INSIGHTS_LOG_FORMAT       = "json"
    INSIGHTS_LISTEN           = "0.0.0.0" # for the live job where it is elsewhere; the security group admits nobody else
  }

  secrets = merge({
    INSIGHTS_EXTERNAL_KAFKA_PASSWORD = "${var.kafka_secret_arn}:password::"
    INSIGHTS_EXTERNAL_POSTGRES       = var.postgres_secret_arn
  }, var.secrets)

  of_every_container = {
    essential              = true
    readonlyRootFilesystem = true
    user                   = "10001"
    linuxParameters        = { initProcessEnabled = true, capabilities = { drop = ["ALL"] } }
    ulimits                = [{ name = "nofile", softLimit = 65536, hardLimit = 65536 }]
    restartPolicy          = { enabled = true }
    dependsOn              = [{ containerName = "prepare", condition = "SUCCESS" }]
  }

  containers = [for of in local.all_containers : of if local.is_flink_here || !contains(local.flink_servers, of.name)]

  all_containers = [
    {
      name                   = "prepare"
      image                  = var.images.hub
      essential              = false
      readonlyRootFilesystem = true
      user                   = "0"
      command                = ["sh", "-c", local.prepare]
      environment            = [{ name = "AUTHORITY", value = var.authority }]
      mountPoints = concat(
        [{ sourceVolume = "authorities", containerPath = local.authorities }],
        [for name in local.prepared : { sourceVolume = name, containerPath = "/volumes/${name}" }],
      )
      logConfiguration = local.logs["prepare"]
    },
    merge(local.of_every_container, {
      name             = "registry"
      image            = var.images.kafka
      command          = ["insights", "serve", "registry"]
      environment      = [for name, value in local.registry : { name = name, value = value }]
      portMappings     = [{ containerPort = local.ports.registry, protocol = "tcp" }]
      secrets          = [{ name = "INSIGHTS_EXTERNAL_POSTGRES", valueFrom = var.postgres_secret_arn }]
      memory           = 640
      mountPoints      = local.mounts["registry"]
      healthCheck      = local.listens["registry"]
      logConfiguration = local.logs["registry"]
    }),
    merge(local.of_every_container, {
      name             = "jobmanager"
      image            = var.images.flink
      command          = ["insights", "serve", "jobmanager"]
      environment      = local.flink_environment
      memory           = var.jobmanager_memory_mb + 128
      mountPoints      = concat(local.mounts["jobmanager"], local.shared)
      healthCheck      = local.listens["jobmanager"]
      logConfiguration = local.logs["jobmanager"]
    }),
    merge(local.of_every_container, {
      name             = "taskmanager"
      image            = var.images.flink
      command          = ["insights", "serve", "taskmanager"]
      environment      = local.flink_environment
      memory           = var.taskmanager_memory_mb + 128
      mountPoints      = concat(local.mounts["taskmanager"], local.shared)
      logConfiguration = local.logs["taskmanager"]
    }),
    merge(local.of_every_container, {
      name        = "hub"
      image       = var.images.hub
      command     = ["insights", "up", "--foreground"]
      environment = [for name, value in local.settings : { name = name, value = tostring(value) }]
      secrets     = [for name, arn in local.secrets : { name = name, valueFrom = arn }]
      portMappings = [
        { containerPort = var.page_port, protocol = "tcp" },
      ]
      mountPoints = concat(
        [{ sourceVolume = "hub", containerPath = local.home }],
        local.shared,
        [{ sourceVolume = "tmp-hub", containerPath = "/tmp" }],
        [{ sourceVolume = "authorities", containerPath = local.authorities, readOnly = true }],
        [for name, path in local.agent : { sourceVolume = name, containerPath = path }],
      )
      # The servers end after it: it stops the live job with a savepoint.
      dependsOn = concat(local.of_every_container.dependsOn, [
        for name in local.servers : { containerName = name, condition = "START" }
        if local.is_flink_here || !contains(local.flink_servers, name)
      ])
      stopTimeout      = 120
      healthCheck      = local.listens["hub"]
      logConfiguration = local.logs["hub"]
    }),
  ]

  flink_environment = [for name, value in local.flink : { name = name, value = tostring(value) }]

  # Outer before inner: snapshots are in the home.
  mounts = {
    for name in local.servers : name => [
      { sourceVolume = "home-${name}", containerPath = local.home },
      { sourceVolume = "tmp-${name}", containerPath = "/tmp" },
      { sourceVolume = "authorities", containerPath = local.authorities, readOnly = true },
    ]
  }
  shared = [
    { sourceVolume = "snapshots", containerPath = local.snapshots },
  ]

  ports = { registry = 19081, jobmanager = 19080, hub = var.page_port }
  listens = {
    for name, port in local.ports : name => {
      command     = ["CMD", "bash", "-c", ": < /dev/tcp/127.0.0.1/${port}"]
      interval    = 15
      retries     = 10
      startPeriod = 300
    }
  }

  logs = {
    for name in concat(["prepare", "hub"], local.servers) : name => {
      logDriver = "awslogs"
      options = {
        "awslogs-group"         = aws_cloudwatch_log_group.this.name
        "awslogs-region"        = var.region
        "awslogs-stream-prefix" = name
      }
    }
  }
}
