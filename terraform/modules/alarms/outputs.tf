output "topic_arn" {
  description = "Where the alarms are sent."
  value       = aws_sns_topic.this.arn
}
